"""Metrics that only this task needs; found by the registry as a part's folder of its package."""
