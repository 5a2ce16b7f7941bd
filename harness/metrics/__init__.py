"""One file per metric: its values, its statistics per sample, and their aggregation to one number."""
