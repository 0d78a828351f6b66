"""What a study found out, for people: figures, verdicts, one HTML page.

- :mod:`hpo.report.figures`: ``FIGURES``, the figures of every report
- :mod:`hpo.report.kinds`: the figures that a study file describes
- :mod:`hpo.report.page`: the page
- :mod:`hpo.report.files`: all of it in a folder

This file imports none of them, because NumPy, Optuna and matplotlib take a second.
"""
