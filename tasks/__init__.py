"""A file (or package) here is a task: a benchmark, its caption prompt and what its samples hold."""
