"""Record in a Keras configuration which parameters are trainable: by the setting ``trainable`` of each layer."""

from __future__ import annotations

import json
from dataclasses import replace

from paramctl.core.text import abbreviate
from paramctl.errors import OutputError, message
from paramctl.model import Model
from paramctl.store.contents import KerasLayout
from paramctl.store.keras.layer_config import MALFORMED
from paramctl.store.keras.training import Training, layers_by_path, owner_path


def marked_config(layout: KerasLayout, model: Model, target: str) -> str:
    """Return the text of a Keras 3 configuration in which each layer is trainable as its parameters are in a model.

    target: the name of the output, for errors.
    Raises OutputError for a layer of which only some parameters are trainable, or whose setting has no such effect.
    """
    if layout.config is None or layout.legacy:  # in Keras 2, the settings of the layers around a layer count too
        raise _refusal(target, [*model.parameters])
    root = json.loads(layout.config)
    try:
        layers = dict(layers_by_path(root))
        for path in _differing(root, model):
            owner = owner_path(layers, path)
            # a class that does not save its setting may not take it
            if owner is not None and "trainable" in layers[owner]["config"]:
                layers[owner]["config"]["trainable"] = model.parameters[path].trainable
    except MALFORMED:
        raise _refusal(target, [*model.parameters]) from None
    if failed := _differing(root, model):
        raise _refusal(target, failed)
    return json.dumps(root)


def check_recorded(config: str, model: Model, target: str) -> None:
    """Raise OutputError if a configuration made from a document does not record trainable as a model has it."""
    for block in model.walk():
        flags = {model.owner(each.path).trainable for each in block.parameters if each.kind != "state"}
        if len(flags) > 1:
            raise _refusal(target, [block.path])
    root = json.loads(config)
    layers = dict(layers_by_path(root))
    # in Keras, the layers of some blocks have other paths
    if failed := [path for path in _differing(root, model) if owner_path(layers, path)]:
        raise _refusal(target, failed)


def _differing(config: object, model: Model) -> list[str]:
    """Return the arrays that a configuration does not make trainable as they are in a model."""
    training = Training(config)
    differing = []
    for owner in model.owners():
        recorded = training.described(replace(owner, trainable=None)).trainable
        if owner.kind != "state" and owner.trainable is not None and owner.trainable is not recorded:
            differing.append(owner.path)
    return differing


def _refusal(target: str, paths: list[str]) -> OutputError:
    rule = f"{target}: a Keras configuration cannot record which of these are trainable"
    hint = "Name all parameters of a layer, or save as .safetensors, .h5 or .npz."
    return OutputError(message(rule, abbreviate(paths), hint))
