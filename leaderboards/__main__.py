"""``python -m leaderboards COMMAND``: an alias of ``cim tables | audit | export | report | board | check | ...``."""

from __future__ import annotations

import sys

from harness.command.cli import main

if __name__ == "__main__":
    sys.exit(main())
