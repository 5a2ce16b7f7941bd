"""Texts of images, captions or references, in the forms in which people have them."""
