"""Everything that can go wrong around a command, tried: ``make torture``, and one small round of each part in tests."""
