"""The ledger: Optuna's study in durable storage, the only truth about a study, written by one driver.

- :mod:`hpo.ledger.address`: what kind of ledger a storage address names
- :mod:`hpo.ledger.ledger`: one study as its writer holds it; ``begin`` and ``finish`` are durable when they return
- :mod:`hpo.ledger.books`: studies as readers see them
- :mod:`hpo.ledger.journal`, :mod:`hpo.ledger.sql`: the two kinds of storage; :mod:`hpo.ledger.lock`: one writer

This file imports none of them, because Optuna takes half a second.
"""
