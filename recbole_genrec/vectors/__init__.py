"""Vectors of texts: made by one source or several, cached, and added to what a model learns of its items."""
