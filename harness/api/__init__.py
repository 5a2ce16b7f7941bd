"""What ``cim_harness`` exports: scoring, evaluation, stored runs and comparison as Python functions (docs/api.md)."""
