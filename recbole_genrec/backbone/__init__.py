"""Language models: loading or building one, and the few calls that the engine makes on it."""
