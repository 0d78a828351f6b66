"""The chapter, run and judged: every figure as a study, every claim held against what the trials say.

``python -m chapter`` runs all studies in one working folder, draws the figures and writes the table of
``docs/chapter.md``.
"""
