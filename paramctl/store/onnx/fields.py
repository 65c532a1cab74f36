"""The fields of an ONNX model, which distinguish it from other messages of protocol buffers."""

from __future__ import annotations

from paramctl.store.io.protobuf import BYTES, VARINT

GRAPH = 7
MODEL_FIELDS = {
    **dict.fromkeys((1, 5), VARINT),  # the versions of the format and of the model
    **dict.fromkeys((2, 3, 4, 6, GRAPH, 8, 14, 20, 25, 26), BYTES),
}
"""The wire type of each field of a model. No other message of a known kind has these alone, and a graph among them."""
GRAPH_FIELDS = frozenset((1, 2, 5, 10, 11, 12, 13, 14, 15, 16))
