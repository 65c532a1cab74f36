"""Input and output that several formats share: extents, shards, atomic replacement, and zip and JSON limits."""
