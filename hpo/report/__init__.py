"""What a study found out, for people: figures, verdicts, one HTML page.

- :mod:`hpo.report.insight`: what each parameter does to the value, and how exact a value is; no matplotlib
- :mod:`hpo.report.figures`: ``FIGURES``, one function of ``(study, trials)`` per figure
- :mod:`hpo.report.page`: the page
- :mod:`hpo.report.files`: all of it in a folder

This file imports none of them, because NumPy, Optuna and matplotlib take a second.
"""
