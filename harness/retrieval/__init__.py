"""The gallery of images and captions, search in it, and the CIM scorer that metrics and training share."""
