"""The stages of an evaluation (caption, parse, judge, retrieve, score), and what compares and verifies runs."""
