"""`python -m eli5b_batch` and the console script `eli5b-batch`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from eli5b_batch.cli import main as command_line  # noqa: PLC0415 (grader processes import this module and need no command line)

    command_line(sys.argv[1:])


if __name__ == "__main__":
    main()
