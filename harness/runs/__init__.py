"""A stored run: its plan, rows, manifest, signatures and statistics."""
