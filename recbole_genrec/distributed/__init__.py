"""Several processes with one device each: how they start, communicate and share weights."""
