"""What is fetched or found on this machine: paths, benchmark files, checkpoints, WordNet, NLTK data, Java."""
