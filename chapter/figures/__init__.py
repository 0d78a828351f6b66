"""Kinds of figures that only the chapter's studies need; a study file names them by their import path."""
