"""The names of variables that follow from a configuration, where the file alone gives numbers.

A Keras 3 file does not record the classes of layers that are attributes, nor the options that decide how many
variables a layer has. The configuration in the same archive has both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.errors import ParamctlError
from paramctl.model import Document, Model, from_document
from paramctl.store.keras import from_config
from paramctl.store.keras.layer_cache import LayerCache
from paramctl.store.keras.layer_config import MALFORMED, is_builtin, layer_name, leaf_layers
from paramctl.store.keras.names import LAYER_LISTS, KerasVariable, prefixes
from paramctl.store.keras.network import keras_network
from paramctl.store.keras.objects import NotInKeras
from paramctl.store.keras.paths import keras_layout

Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of a file's parameters by their paths."""
Order = Callable[[Mapping[str, Parameter]], Mapping[str, Sequence[str]]]
"""A function from the parameters of a document to their paths by the object that has them, in the order of a file."""


class ConfigNames(NamedTuple):
    """The facts in a configuration about the parameters of a file.

    paths: new paths, by the paths that the file gives. A path without an entry does not change.
    document: the configuration as a model document, if it has exactly these parameters.
    missing: the parameters of the configuration that the file lacks.
    """

    paths: Mapping[str, str]
    document: Document | None
    missing: Shapes


NO_NAMES = ConfigNames({}, None, {})


def names_in_config(
    config: Any,
    variables: Mapping[str, KerasVariable],
    shapes: Shapes,
    source: str,
    cache: LayerCache,
    order: Order | None = None,
) -> ConfigNames:
    """Return the names in a configuration: from its document, else from each layer that is part of Keras.

    source: the name of the file, for the document.
    order: of the variables in the file, if not that of Keras 3. It applies to objects that have all of them.
    """
    if config is None:
        return NO_NAMES
    document = _document(config)
    names = _by_document(document, config, variables, shapes, source, order) if document is not None else None
    return names or ConfigNames(_by_layer(config, shapes, cache), None, {})


def declared_shapes(config: str, source: str) -> Shapes:
    """Return the shapes of the parameters that the text of a configuration declares; none if it cannot be built here.

    source: the name of the file.
    """
    try:
        document = _document(json.loads(config))
        model = from_document(document, source) if document is not None else None
    except (ParamctlError, ValueError, *MALFORMED):
        return {}
    return {} if model is None else {path: parameter.shape for path, parameter in model.parameters.items()}


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


def _by_document(
    document: Document,
    config: Any,
    variables: Mapping[str, KerasVariable],
    shapes: Shapes,
    source: str,
    order: Order | None,
) -> ConfigNames | None:
    """Return the names in a document; None unless it has all of these parameters."""
    try:
        model = from_document(document, source)
        expected = (order or _numbered)(model.parameters)
    except (ParamctlError, *MALFORMED):
        return None
    declared = {path: parameter.shape for path, parameter in model.parameters.items()}
    paths = _paths_in_order(variables.values(), shapes, expected, declared, complete=order is not None)
    if not _are_declared(paths, shapes, declared) and order is None:
        paths = _paths_in_layout(variables, model)
    if not _are_declared(paths, shapes, declared):
        return None
    present = {paths.get(path, path) for path in shapes}
    missing = {path: shape for path, shape in declared.items() if path not in present}
    if not missing:
        return ConfigNames(paths, document, {})
    return ConfigNames(paths, None, without_shared(config, missing))


def _paths_in_order(
    variables: Iterable[KerasVariable],
    shapes: Shapes,
    expected: Mapping[str, Sequence[str]],
    declared: Shapes,
    complete: bool,
) -> dict[str, str]:
    """Return the path of each variable whose object has parameters of these shapes in this order.

    expected: paths by object. declared: their shapes. complete: an object must have all of them.
    """
    objects: dict[str, dict[int, str]] = {}
    for variable in variables:
        if variable.place >= 0:
            objects.setdefault(variable.owner, {})[variable.place] = variable.path
    paths: dict[str, str] = {}
    for owner, members in objects.items():
        siblings = expected.get(owner, ())
        in_order = max(members) < len(siblings) and (not complete or len(members) == len(siblings))
        if in_order and all(shapes[path] == declared[siblings[place]] for place, path in members.items()):
            paths |= {path: siblings[place] for place, path in members.items()}
    return paths


def _paths_in_layout(variables: Mapping[str, KerasVariable], model: Model) -> dict[str, str]:
    """Return the path of each variable by the place that Keras gives a parameter of the model in a file.

    Keras before 3.3 recorded no names of layers.
    """
    try:
        layout = keras_layout(keras_network(model)).variables
    except NotInKeras:
        return {}
    paths = {_attribute_names(stored): path for path, stored in layout.items()}
    places = {stored: _attribute_names(stored) for stored in variables}
    return {variable.path: paths[places[stored]] for stored, variable in variables.items() if places[stored] in paths}


def _attribute_names(stored: str) -> str:
    """Return a stored path with one name for attributes that have another name in some versions of Keras.

    The parts of MultiHeadAttention began with an underscore before Keras 3.15.
    """
    current, old = LAYER_LISTS
    return "/".join(current if part == old else part.removeprefix("_") for part in stored.split("/"))


def _are_declared(paths: Mapping[str, str], shapes: Shapes, declared: Shapes) -> bool:
    """Return whether a document has all parameters of a file, renamed by these paths, in the same shapes."""
    renamed = {paths.get(path, path): shape for path, shape in shapes.items()}
    return bool(renamed) and len(renamed) == len(shapes) and renamed.items() <= declared.items()


def _numbered(parameters: Mapping[str, Parameter]) -> dict[str, list[str]]:
    """Return the paths of parameters by the object that has them: its variables are numbered in this order."""
    folders: dict[str, list[str]] = {}
    for path in parameters:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    return folders


def without_shared(config: Any, missing: Shapes) -> Shapes:
    """Return missing parameters without those of a layer that is listed again elsewhere.

    A layer that two models share is listed in both. The file has its variables once.
    """
    counts = Counter(f"{layer['class_name']} {layer_name(layer)}" for _, layer in leaf_layers(config))
    shared = {path for path, layer in leaf_layers(config) if counts[f"{layer['class_name']} {layer_name(layer)}"] > 1}
    return {path: shape for path, shape in missing.items() if not shared.intersection(prefixes(path))}


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
