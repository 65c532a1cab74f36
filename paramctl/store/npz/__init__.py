"""The NPZ format: a zip archive of npy arrays."""
