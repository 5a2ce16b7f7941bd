"""A file here is an engine: what turns requests into text."""
