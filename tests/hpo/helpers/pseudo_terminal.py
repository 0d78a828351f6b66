"""The end of a pseudo-terminal at which a person would sit."""

from __future__ import annotations

import os


def drain(terminal: int) -> bytes:
    """All that was written to a terminal, read until its other end is closed."""
    shown = b""
    try:
        while part := os.read(terminal, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    return shown
