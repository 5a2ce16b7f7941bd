"""One file per engine, which turns requests into text."""
