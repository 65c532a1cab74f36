"""What changes in a source: values, and which names share an array."""
