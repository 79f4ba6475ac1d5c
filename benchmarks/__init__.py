"""Slow checks and measurements: ``python -m benchmarks.NAME``; each prints a small table and writes JSON."""
