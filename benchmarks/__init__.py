"""Benchmarks: ``python -m benchmarks.NAME`` prints a table and writes JSON."""

import recbole_genrec  # noqa: F401, it says how threads wait, which it must before torch is loaded
