"""``make gpu-check``: what half an hour of any GPU turns into numbers, step by step, with random weights.

Each step is a process of its own with a time limit and one row in ``rows.jsonl``; steps that passed at the same commit
on the same device are not repeated. ``--size small`` runs every step on a CPU. Random models never end a text, so every
text has its full length: times are a worst case, and no value says anything about captions.
"""
