"""Distributions and models in the types of JSON, for the description of a source. edit/reopen.py reads them back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from paramctl.core.dtypes import Array, to_native
from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.init import distributions
from paramctl.init.distributions import CustomDistribution, Distribution, ExistingValues
from paramctl.init.parse import parse_scheme
from paramctl.init.registry import Target
from paramctl.init.rules import AssignedScheme
from paramctl.model import Model
from paramctl.model.document import parse_value
from paramctl.source.base import Description, Source

TYPE = "distribution"


def distribution_to_json(distribution: Distribution) -> Description:
    """Describe a distribution: its type and its fields. User code is described by its text, copied values by source."""
    name = type(distribution).__name__
    if isinstance(distribution, CustomDistribution):
        return {TYPE: name, "scheme": distribution.name}
    if isinstance(distribution, ExistingValues):
        return {TYPE: name, **distribution.describe()}
    return {TYPE: name} | {field.name: _to_json(getattr(distribution, field.name)) for field in fields(distribution)}


def _to_json(value: Any) -> Any:
    if is_dataclass(value):
        return distribution_to_json(value)  # type: ignore[arg-type]
    return [_to_json(item) for item in value] if isinstance(value, tuple) else value


def distribution_from_json(
    description: Mapping[str, Any], parameter: Parameter, reopen: Callable[[Description], Source]
) -> Distribution:
    """Return the distribution of a description. Raises DocumentError if user code no longer loads."""
    options = dict(description)
    name = options.pop(TYPE)
    if name == CustomDistribution.__name__:
        return parse_scheme(options["scheme"], parameter.path).distribution(Target.of(parameter))
    if name == ExistingValues.__name__:
        source, path = reopen(options["source"]), options["path"]

        def read(start: int, stop: int) -> Array:
            return to_native(source.read(path, start, stop))

        return ExistingValues(read, lambda: options)
    values = {key: _from_json(value, parameter, reopen) for key, value in options.items()}
    distribution: Distribution = getattr(distributions, name)(**values)
    return distribution


def _from_json(value: Any, parameter: Parameter, reopen: Callable[[Description], Source]) -> Any:
    if isinstance(value, Mapping):
        return distribution_from_json(value, parameter, reopen)
    return tuple(_from_json(item, parameter, reopen) for item in value) if isinstance(value, list) else value


def assigned_to_json(assigned: AssignedScheme) -> list[Any]:
    """Describe an assigned scheme: its text, its distribution, what assigned it, and the scheme as written."""
    node = assigned.node.plain() if assigned.node is not None else None
    return [assigned.scheme, distribution_to_json(assigned.distribution), assigned.reason, node]


def assigned_from_json(
    description: list[Any], parameter: Parameter, reopen: Callable[[Description], Source]
) -> AssignedScheme:
    """Return the assigned scheme of a description. Raises DocumentError if user code no longer loads."""
    scheme, law, reason, node = description
    written = parse_value(json.dumps(node), reason) if node is not None else None
    return AssignedScheme(scheme, distribution_from_json(law, parameter, reopen), reason, written)


def model_to_json(model: Model) -> Description:
    """Describe a model by its document. Raises InputError if it has none."""
    document = model.document
    if document is None:
        raise InputError(f"{model.name}: only a model with a document can be built again in another process")
    return {
        "text": document.text,
        "name": document.name,
        "variables": dict(document.variables),
        "input_shapes": [list(item) for item in document.input_shapes],
        "dtypes": {path: parameter.dtype for path, parameter in model.parameters.items()},
    }
