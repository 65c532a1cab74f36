"""Facts about a model or a checkpoint, as plain rows. Nothing here prints."""
