"""Parameters of two models matched by their places in a Keras file, as Keras itself matches weights to a model.

Keras' code writes residual connections flat, and a document as blocks: a document has both layouts here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from paramctl.model import Model
from paramctl.store.contents import KerasLayout
from paramctl.store.keras.network import keras_network
from paramctl.store.keras.objects import NotInKeras
from paramctl.store.keras.paths import keras_layout


def paths_by_place(
    model: Model, layout: KerasLayout | None, other: Model, other_layout: KerasLayout | None
) -> dict[str, str]:
    """Return the path in another model of each parameter of a model; empty unless both have the same places.

    layout, other_layout: those of their Keras files, if they come from such.
    """
    if layout is None and other_layout is None:  # neither is a Keras file: names decide
        return {}
    for places in _places(model, layout):
        for others in _places(other, other_layout):
            if _shapes(model, places) == _shapes(other, others):
                return {path: others[place] for place, path in places.items()}
    return {}


def _shapes(model: Model, places: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    return {place: model.parameters[path].shape for place, path in places.items()}


def _places(model: Model, layout: KerasLayout | None) -> Iterator[dict[str, str]]:
    """Yield the paths of all parameters by their places, in each layout that a Keras model of these layers may have."""
    layouts = [layout.variables] if layout is not None else []
    if model.inputs:
        for flat in (False, True):
            with suppress(NotInKeras):
                layouts.append(keras_layout(keras_network(model, flat)).variables)
    for variables in layouts:
        if variables and variables.keys() == model.parameters.keys():
            yield {place: path for path, place in variables.items()}
