"""Changes to a source: its values, and the names that share an array."""
