"""Training captioners with retrieval rewards."""
