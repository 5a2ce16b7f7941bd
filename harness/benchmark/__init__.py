"""Benchmarks without code: a ``task.toml``, or files named on the command line, made into a ``Task``."""
