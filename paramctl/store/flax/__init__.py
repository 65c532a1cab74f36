"""Flax's msgpack: trees of arrays, as ``flax.serialization`` writes them. They are read without flax and msgpack."""

NAME = "Flax msgpack"
