"""The folder of a trained model, written whole or not at all."""
