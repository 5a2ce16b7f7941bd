"""A file here is an encoder: what turns one text into one unit vector."""
