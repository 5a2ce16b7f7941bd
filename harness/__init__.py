"""The engine room: nouns, then verbs in running order, then folders of parts.

Run it with ``cim`` or ``python -m harness``.
"""
