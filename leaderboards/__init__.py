"""Reads stored runs and runs nothing: tables, audit, report, board and the gate's comparison."""
