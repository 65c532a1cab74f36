"""Layers of Keras' own, each as a document that holds nothing else would have it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from paramctl.errors import ParamctlError
from paramctl.model import Block, Document, from_document
from paramctl.store.keras.from_config import MODELS, UnsupportedConfig, entry

MOST = 1_000


class LayerCache:
    """What documents say of layers, by what each is without its name; of so many different ones at most."""

    def __init__(self) -> None:
        self.blocks: dict[str, Block | None] = {}

    def block(
        self,
        layer: Mapping[str, Any],
        given: Mapping[str, Sequence[int | None]],
        takes: Sequence[str],
        at_call: Mapping[str, Any] | None = None,
    ) -> Block | None:
        """A layer of a configuration; None if no document can say it. given: the shapes of what it can take."""
        if layer["class_name"] in MODELS:
            return None
        unnamed = {**layer, "config": {**layer["config"], "name": "layer"}}
        try:
            document = {"inputs": {name: list(shape) for name, shape in given.items()}}
            text = json.dumps(document | {"layers": [entry(unnamed, {}, list(takes), at_call)]})
            if text not in self.blocks and len(self.blocks) < MOST:
                self.blocks[text] = None
                self.blocks[text] = from_document(Document(text, "layer", {}, ()), "layer").blocks[0]
        except (UnsupportedConfig, ParamctlError):
            return None
        return self.blocks.get(text)
