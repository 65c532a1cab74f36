"""Flax's msgpack: trees of arrays, as ``flax.serialization`` writes them. They are read without flax and msgpack."""

NAME = "Flax msgpack"
SHARDS_NAME = "Flax msgpack set"
INDEX = ".msgpack.index.json"
"""The suffix of the index of a set."""
