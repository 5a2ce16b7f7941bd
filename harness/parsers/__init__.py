"""One file per parser, which turns one text into tokens, alignments or a scene graph."""
