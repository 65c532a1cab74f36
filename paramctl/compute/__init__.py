"""Values in motion: the outputs of a model for given inputs. The layers compute; this package walks the model."""
