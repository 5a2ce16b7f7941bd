"""A file here is a judge: a prompt and the parser of its replies, both pure."""
