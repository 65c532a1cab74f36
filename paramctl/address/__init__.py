"""Names for parameters, layers, and slices of values, and how a model resolves them."""
