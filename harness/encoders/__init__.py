"""One file per encoder, which turns a text or an image into one L2-normalised embedding."""
