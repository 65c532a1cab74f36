"""A report: one page with the facts of a model, which works without a network."""
