"""What a training step eats: histories, prompts and targets as tokens."""
