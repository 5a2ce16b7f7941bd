"""A file here is a metric: its values, its statistics a sample, and how these become one number."""
