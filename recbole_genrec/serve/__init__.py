"""Recommendations from a trained checkpoint, without RecBole and without the dataset."""
