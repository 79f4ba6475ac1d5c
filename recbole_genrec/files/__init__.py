"""Reading and writing files that people edit: YAML, JSON, atomic files, plain text, shipped properties."""
