"""Option types: which values each numeric option takes, at its bounds and just beyond them."""

import math
from typing import Any, get_args

import pytest

from paramctl.declare import option_types
from paramctl.declare.option_types import IntegerType, NumberType, OptionType
from paramctl.errors import DocumentError
from paramctl.model.document import parse_value

LARGEST, TINY = 2**63 - 1, 5e-324

RANGES: dict[str, tuple[list[Any], list[Any]]] = {
    "Count": ([1, 2, 3.0, LARGEST], [0, -1, 1.5, LARGEST + 1]),
    "Natural": ([0, 1, 3.0, LARGEST], [-1, 0.5, LARGEST + 1]),
    "Integer": ([0, -1, -3.0, LARGEST, -LARGEST], [0.5, -LARGEST - 1, LARGEST + 1]),
    "Number": ([0, -1.5, 1e308, LARGEST], []),
    "Positive": ([TINY, 1, 1e308], [0, -TINY, -1]),
    "NonNegative": ([0, TINY, 1e308], [-TINY, -1]),
    "Rate": ([0, TINY, math.nextafter(1, 0)], [-TINY, 1, 1.5]),
    "UnitInterval": ([0, TINY, 1], [-TINY, math.nextafter(1, 2)]),
}
"""The values that each type accepts, and those that it refuses."""

NUMERIC = {
    name: option
    for name, annotation in vars(option_types).items()
    for option in get_args(annotation)[1:]
    if isinstance(option, (IntegerType, NumberType))
}


def read(option: OptionType, value: object) -> Any:
    return option.read(parse_value(repr(value), "option"), "option")


def test_every_numeric_type_has_a_range() -> None:
    assert len(NUMERIC) > 5
    assert NUMERIC.keys() == RANGES.keys()


@pytest.mark.parametrize("name", NUMERIC)
def test_a_numeric_option_takes_the_values_in_its_range(name: str) -> None:
    accepted, refused = RANGES[name]
    for value in accepted:
        assert read(NUMERIC[name], value) == value
    for value in [*refused, True, "text", [1]]:
        with pytest.raises(DocumentError):
            read(NUMERIC[name], value)
