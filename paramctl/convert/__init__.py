"""Conversion of names, axes, and layouts between Keras and PyTorch."""
