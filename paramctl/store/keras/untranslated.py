"""The settings of a configuration that model documents do not have. A file that is written by its document lacks them.

They act in training, and on the precision in which a layer computes, but change no parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paramctl.store.keras.layer_config import MALFORMED, leaf_layers


def untranslated_settings(config: Any) -> tuple[str, ...]:
    """Return the regularizers, constraints and mixed dtype policies in a configuration, as ``SETTING of LAYER``."""
    try:
        return tuple(f"{setting} of {path}" for path, layer in leaf_layers(config) for setting in _settings(layer))
    except MALFORMED:
        return ()


def _settings(layer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings of a layer, and of a layer that it wraps."""
    for option, value in layer["config"].items():
        if option.endswith(("_regularizer", "_constraint")) and value is not None:
            yield option
        elif option in ("layer", "backward_layer") and isinstance(value, dict):
            yield from _settings(value)
        elif option == "dtype" and isinstance(value, dict) and str(value["config"].get("name")).startswith("mixed_"):
            yield f"{value['config']['name']} policy"
