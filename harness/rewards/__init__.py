"""One reward per file, each with a constant ``REWARD``; definitions in ``docs/cim.md``."""
