"""Declarations of the options of layers, activations, and schemes, and values with their source positions."""
