"""A file here is a parser: what turns one text into tokens, alignments or a scene graph."""
