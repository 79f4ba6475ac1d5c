"""What people edit, read and written: YAML, JSON, atomic files, plain text, shipped properties."""
