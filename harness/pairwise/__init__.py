"""A pairwise judge: which of two captions of an image is better, and what follows for the runs that wrote them."""
