"""A process that holds a study's ledger: ``hold.py ADDRESS STUDY [MODE]``, for tests to watch, race or kill.

It prints ``held`` once it holds the ledger, does what MODE says, prints ``done``, and waits to be killed or for the end
of its standard input. ``begin`` starts a trial, ``fill N`` completes N trials.
"""

import sys

from clerk import Clerk
from small_study import small_study

from hpo.ledger.address import parse

address, name, mode, *rest = [*sys.argv[1:], ""]
clerk = Clerk(parse(address), small_study(name=name))
print("held", flush=True)
if mode == "begin":
    clerk.begin(seed=7)
elif mode == "fill":
    clerk.fill([float(i) for i in range(int(rest[0]))])
print("done", flush=True)
sys.stdin.read()
clerk.ledger.close()
