"""The search loop: ask, dispatch, hear, stop, tell."""
