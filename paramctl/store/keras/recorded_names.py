"""The own names of objects, for a file that does not record them: Keras before 3.3 wrote none.

The configuration in the same archive lists the layers in the order in which Keras numbers them in the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from paramctl.model.layers.base import snake_case
from paramctl.store.keras.layer_config import MALFORMED, MODELS, layer_name, layer_type
from paramctl.store.keras.names import LAYER_LISTS, GroupAttributes
from paramctl.store.keras.variables import CELLS


def with_names(groups: GroupAttributes, config: Any) -> GroupAttributes:
    """Return the groups of a file with the names that a configuration gives, if the file records no name at all."""
    if config is None or any("name" in attributes for attributes in groups.values()):
        return groups
    try:
        names = {f"{path}/vars": {"name": name} for path, name in _names(config, groups)}
    except MALFORMED:
        return groups
    return {path: {**attributes, **names.get(path, {})} for path, attributes in groups.items()}


def _names(config: Mapping[str, Any], groups: GroupAttributes) -> Iterator[tuple[str, str]]:
    """Yield the path and the own name of each layer that has a group, and of each layer within it."""
    stack = [("", config)]
    while stack:
        path, owner = stack.pop()
        for place, layer in _children(owner, path):
            if f"{place}/vars" in groups:
                yield place, layer_name(layer)
                stack.append((place, layer))
                cell = CELLS.get(layer_type(str(layer["class_name"])))
                if cell is not None:
                    yield f"{place}/cell", cell


def _children(owner: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the layers within a model or a layer, with the places that they may have in a file."""
    config = owner["config"]
    start = f"{path}/" if path else ""
    lists = LAYER_LISTS if owner["class_name"] in MODELS else ("cells",)
    counts: Counter[str] = Counter()
    for layer in config.get("layers" if owner["class_name"] in MODELS else "cells", ()):
        name = snake_case(str(layer["class_name"]))
        numbered = f"{name}_{counts[name]}" if counts[name] else name
        counts[name] += 1
        yield from ((f"{start}{container}/{numbered}", layer) for container in lists)
    for attribute in ("layer", "cell"):
        if isinstance(config.get(attribute), dict):
            yield f"{start}{attribute}", config[attribute]
