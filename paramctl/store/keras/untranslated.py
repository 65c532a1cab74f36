"""The settings of a configuration that model documents do not have. A file that is written by its document lacks them.

They act in training, on the precision in which a layer computes, and on a function that Keras 3 computes in another
way. They change no parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paramctl.store.keras.layer_config import MALFORMED, leaf_layers

HARD_SIGMOID = "hard_sigmoid with the slope 0.2 (Keras 3 has 1/6)"
"""Up to Keras 2.3 it was the default of the gates in recurrent layers."""


def untranslated_settings(config: Any, keras2: bool) -> tuple[str, ...]:
    """Return the regularizers, constraints and mixed dtype policies in a configuration, as ``SETTING of LAYER``.

    keras2: True if Keras 2 or before wrote the configuration. Its hard_sigmoid is one of these settings.
    """
    try:
        pairs = [(path, setting) for path, layer in leaf_layers(config) for setting in _settings(layer)]
    except MALFORMED:
        return ()
    return tuple(dict.fromkeys(f"{name} of {path}" for path, name in pairs if keras2 or name != HARD_SIGMOID))


def _settings(layer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the settings of a layer, and of a layer that it wraps."""
    for option, value in layer["config"].items():
        if option.endswith(("_regularizer", "_constraint")) and value is not None:
            yield option
        elif option in ("layer", "backward_layer") and isinstance(value, dict):
            yield from _settings(value)
        elif option.endswith("activation") and value == "hard_sigmoid":
            yield HARD_SIGMOID
        elif option == "dtype" and isinstance(value, dict) and str(value["config"].get("name")).startswith("mixed_"):
            yield f"{value['config']['name']} policy"
