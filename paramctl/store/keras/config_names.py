"""The names of variables that follow from a configuration, where the file alone gives numbers.

A Keras 3 file does not record the classes of layers that are attributes, nor the options that decide how many
variables a layer has. The configuration in the same archive has both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from paramctl.errors import ParamctlError
from paramctl.model import Document, from_document
from paramctl.store.keras import from_config
from paramctl.store.keras.layer_cache import LayerCache
from paramctl.store.keras.layer_config import MALFORMED, is_builtin, leaf_layers
from paramctl.store.keras.names import KerasVariable, prefixes

Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of a file's parameters by their paths."""


class ConfigNames(NamedTuple):
    """The facts in a configuration about the parameters of a file.

    paths: new paths, by the paths that the file gives. A path without an entry does not change.
    document: the configuration as a model document, if it has exactly these parameters.
    """

    paths: Mapping[str, str]
    document: Document | None


def names_in_config(config: Any, shapes: Shapes, source: str, cache: LayerCache) -> ConfigNames:
    """Return the names in a configuration: from its document, else from each layer that is part of Keras.

    source: the name of the file, for the document.
    """
    if config is None:
        return ConfigNames({}, None)
    document = _document(config)
    paths = _by_document(document, shapes, source) if document is not None else {}
    return ConfigNames(paths, document) if paths else ConfigNames(_by_layer(config, shapes, cache), None)


def number_custom_layers(config: Any, variables: Mapping[str, KerasVariable]) -> Mapping[str, KerasVariable]:
    """Return variables with numbers for names in the layers that are custom by the configuration.

    A custom class may have the name of a class of Keras, whose names its variables have been given.
    """
    try:
        custom = {path for path, layer in leaf_layers(config) if not is_builtin(layer)}
    except MALFORMED:
        return variables
    numbered = dict(variables)
    for stored, variable in variables.items():
        folder = variable.path.rpartition("/")[0]
        if folder in custom:
            numbered[stored] = KerasVariable(f"{folder}/{stored.rpartition('/')[2]}", {})
    return numbered


def _document(config: Any) -> Document | None:
    """Return a configuration as a model document; None if the language lacks part of it."""
    try:
        content = from_config.document(config)
        text = json.dumps(content, indent=1)
    except (from_config.UnsupportedConfig, ValueError):
        return None
    return Document(text, str(content["name"]), {}, ())


def _by_document(document: Document, shapes: Shapes, source: str) -> dict[str, str]:
    """Return the path of each parameter in a document; empty unless the document has exactly these parameters.

    A variable with a number for a name is the document's parameter with that number in its layer.
    """
    try:
        parameters = from_document(document, source).parameters
    except ParamctlError:
        return {}
    folders: dict[str, list[str]] = {}
    for path in parameters:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    paths = {}
    for path in shapes:
        folder, _, name = path.rpartition("/")
        number = int(name) if name.isdecimal() else -1  # -1: the file gives the name already
        siblings = folders.get(folder, ())
        paths[path] = siblings[number] if 0 <= number < len(siblings) else path
    renamed = {paths[path]: shape for path, shape in shapes.items()}
    equal = renamed == {parameter.path: parameter.shape for parameter in parameters.values()}
    return paths if equal and len({*paths.values()}) == len(paths) else {}


def _by_layer(config: Any, shapes: Shapes, cache: LayerCache) -> dict[str, str]:
    """Return the paths of numbered variables whose names follow from the class and options of their layer.

    The names of an object apply only if it has as many variables.
    """
    numbered: dict[str, list[str]] = {}  # the numbers of variables, by the object that has them
    for path in shapes:
        folder, _, name = path.rpartition("/")
        if name.isdecimal():
            numbered.setdefault(folder, []).append(name)
    around = {prefix for folder in numbered for prefix in prefixes(folder)}
    names: dict[str, list[str]] = {}
    try:
        for path, layer in leaf_layers(config):
            if path in around:
                for variable in _layer_variables(layer, cache):
                    folder, _, name = f"{path}/{variable}".rpartition("/")
                    names.setdefault(folder, []).append(name)
    except MALFORMED:
        return {}
    return {
        f"{folder}/{number}": f"{folder}/{names[folder][int(number)]}"
        for folder, numbers in numbered.items()
        if len(names.get(folder, ())) == len(numbers)
        for number in numbers
        if int(number) < len(numbers)
    }


def _layer_variables(layer: Mapping[str, Any], cache: LayerCache) -> list[str]:
    """Return the variables of a layer by their paths within it; none if a document cannot build it."""
    shape = layer.get("build_config", {}).get("input_shape")
    block = cache.block(layer, {"x": shape[1:]}, ["x"]) if shape else None
    return [parameter.path.partition("/")[2] for parameter in block.parameters] if block else []
