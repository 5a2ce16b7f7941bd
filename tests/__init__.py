"""Tests: flat, one file a subject; parity tests name the reference tool and its version."""
