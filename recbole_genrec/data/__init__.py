"""Datasets and loaders: exact order of time, packed histories."""
