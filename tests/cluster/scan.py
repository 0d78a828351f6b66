"""scan ADDRESS: prints the TCP ports that answer there."""

import socket
import sys

for port in range(1, 65536):
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex((sys.argv[1], port)) == 0 and probe.getsockname() != probe.getpeername():
            print(port)  # and not the probe itself, which may be given the very port that it asks for
