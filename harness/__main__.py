"""``python -m harness`` is ``cim``."""

import sys

from harness.command.cli import main

if __name__ == "__main__":
    sys.exit(main())
