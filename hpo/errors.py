"""Every error hpo raises on purpose.

HpoError                 exit code 1: the study ran, but failed
├── InputError           exit code 2: what the user gave is wrong; nothing was started
└── Interrupted          exit code 130: the user ended it
"""


class HpoError(Exception):
    """A study that could not go on; the message is all a person needs to see."""

    exit_code = 1


class Interrupted(HpoError):
    """The user ended a search; what was still running is run again by the same command."""

    exit_code = 130

    def __init__(self, command: str) -> None:
        super().__init__(f"interrupted; the same `{command}` goes on with it")


class InputError(HpoError):
    """Bad input: a study file, an option, an objective, a storage address, missing data."""

    exit_code = 2
