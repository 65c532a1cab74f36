"""Random engines: each turns a seed, a path, and a position into values."""
