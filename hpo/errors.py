"""Every error hpo raises on purpose.

HpoError                 exit code 1: the study ran, but failed
└── InputError           exit code 2: what the user gave is wrong; nothing was started
"""


class HpoError(Exception):
    """A study that could not go on; the message is all a person needs to see."""

    exit_code = 1


class InputError(HpoError):
    """Bad input: a study file, an option, an objective, a storage address, missing data."""

    exit_code = 2
