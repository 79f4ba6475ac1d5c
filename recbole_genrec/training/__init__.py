"""Trainers: RecBole's, extended for each kind of model; the table in ``config/registry.py`` names them."""
