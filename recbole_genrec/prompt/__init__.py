"""Item text and prompt templates: how items and histories become text."""
