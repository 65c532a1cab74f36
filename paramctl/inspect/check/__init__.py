"""Checks of models and checkpoints: each is one function, and yields what it finds."""
