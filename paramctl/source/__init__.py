"""The origin of values: drawn from schemes, stored in a checkpoint, or derived from another source."""
