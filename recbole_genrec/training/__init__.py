"""Trainers, each RecBole's with what its model needs beside; the table in ``config/registry.py`` names them."""
