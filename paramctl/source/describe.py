"""Distributions in the types of JSON, for the description of a drawn source. edit/reopen.py reads them back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from paramctl.core.dtypes import Array, to_native
from paramctl.core.parameter import Parameter
from paramctl.init import distributions
from paramctl.init.distributions import CustomDistribution, Distribution, ExistingValues
from paramctl.init.parse import parse_scheme
from paramctl.init.registry import Target
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
