"""Layers of a Keras configuration, each built through a document with that layer alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from paramctl.errors import ParamctlError
from paramctl.model import Block, Document, from_document
from paramctl.store.keras.from_config import UnsupportedConfig, layer_entry
from paramctl.store.keras.layer_config import MODELS

MAX_LAYERS = 1_000


class LayerCache:
    """Built layers by the text of their documents, so that equal layers under different names are built once.

    Builds at most MAX_LAYERS: a hostile configuration can list any number of different layers.
    """

    def __init__(self) -> None:
        self.blocks: dict[str, Block | None] = {}

    def block(
        self,
        layer: Mapping[str, Any],
        inputs: Mapping[str, Sequence[int | None]],
        sources: Sequence[str],
        call_options: Mapping[str, Any] | None = None,
    ) -> Block | None:
        """Return a layer of a configuration as a block named ``layer``; None if a document does not have it.

        inputs: the shapes of the inputs of the document by name, without the batch axis.
        sources: which of these inputs the layer takes, in the order of its arguments.
        """
        if layer["class_name"] in MODELS:
            return None
        unnamed = {**layer, "config": {**layer["config"], "name": "layer"}}
        try:
            document = {"inputs": {name: list(shape) for name, shape in inputs.items()}}
            text = json.dumps(document | {"layers": [layer_entry(unnamed, {}, list(sources), call_options)]})
            if text not in self.blocks and len(self.blocks) < MAX_LAYERS:
                self.blocks[text] = None  # stays None if the document is refused
                self.blocks[text] = from_document(Document(text, "layer", {}, ()), "layer").blocks[0]
        except (UnsupportedConfig, ParamctlError):
            return None
        return self.blocks.get(text)
