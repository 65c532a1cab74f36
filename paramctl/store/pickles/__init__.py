"""Pickles, read by a machine that imports nothing and calls nothing."""
