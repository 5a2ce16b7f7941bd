"""The command line: arguments, one module per group of verbs, tables and progress on the terminal."""
