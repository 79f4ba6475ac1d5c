"""Measurements beside RecBole's metrics: outcomes by user, confidence intervals, cold items, time."""
