"""The evaluation and training harness for detailed image captions: types, parts, stages of a run, command line.

Run it with ``cim`` or ``python -m harness``.
"""
