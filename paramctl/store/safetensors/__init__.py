"""The safetensors format: a JSON header followed by the bytes of the tensors."""

NAME = "safetensors"
SHARDS_NAME = "sharded safetensors"
MAX_HEADER = 100_000_000
"""Bytes of a header, the limit of the safetensors library."""
