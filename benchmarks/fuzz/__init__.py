"""Hostile and broken input: ``python -m benchmarks.fuzz``; the tests draw cases from the same targets."""
