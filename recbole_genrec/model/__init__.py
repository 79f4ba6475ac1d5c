"""Recommenders: one file a model."""
