"""Recommendations for many rows: where they come from, what is answered, and files that a stopped run goes on with."""
