"""One run and its result; several runs compared, searched, or tested again."""
