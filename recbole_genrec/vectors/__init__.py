"""Text vectors: computed by one or several sources, cached, and added to a model's item vectors."""
