"""Printed tables: the file that holds one, its rows and columns, and what was found in it."""
