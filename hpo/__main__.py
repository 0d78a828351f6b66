"""The program ``hpo``: imports next to nothing by itself, so that a signal during imports ends it as at other times."""

import signal
import sys


def main() -> None:
    """Runs the command line."""
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line has it from its start
        from hpo import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
