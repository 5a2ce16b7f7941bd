"""Model files: one TOML per model, and the reader of that format."""
