"""A Ray cluster of several nodes on this machine, one raylet each: ``cluster.py`` for a test to steer.

It prints the cluster's address. A line on standard input adds a node with one core; its raylet's pid is printed.
At the end of standard input the cluster ends.
"""

import sys

from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
print(cluster.address, flush=True)
for _ in sys.stdin:
    node = cluster.add_node(num_cpus=1)
    print(node.all_processes["raylet"][0].process.pid, flush=True)
cluster.shutdown()
