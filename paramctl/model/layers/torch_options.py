"""The fate of a layer's options in torch: in the arrays, an argument of the module, in torch code, or impossible.

Each layer declares this for every option in `torch_options`, beside `Layer.torch`. A module that computes something
else is refused; what its constructor or the code around it must do is a note of the conversion.
https://docs.pytorch.org/docs/stable/nn.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class TorchOption(NamedTuple):
    """The fate of an option in torch.

    argument: of torch's module, noted unless its value equals `default`; "" if it has none.
    convert: from the option's value to the argument's.
    remark: noted for any value but `usual`, with the value in place of {}; or a function of the value and the layer.
    supports: returns False for a value with which torch's module cannot compute the same.
    """

    argument: str = ""
    default: Any = None
    convert: Callable[[Any], Any] | None = None
    remark: str | Callable[[Any, Any], str] = ""
    usual: Any = None
    supports: Callable[[Any], bool] | None = None

    def argument_value(self, value: Any) -> Any:
        """Return the argument of torch's module; None if it is the default."""
        converted = self.convert(value) if self.convert is not None else value
        return None if not self.argument or converted == self.default else converted


CARRIED = TorchOption()
"""The arrays carry it: by their shapes, their order or their values, or because one is missing."""
IN_CODE = TorchOption()
"""The layer has no arrays in torch, and torch code states the option as the document does."""


def options(**decided: TorchOption) -> Mapping[str, TorchOption]:
    """Return the fates of the options of a layer, by their names."""
    return MappingProxyType(decided)


def argument(name: str, default: Any = None, convert: Callable[[Any], Any] | None = None) -> TorchOption:
    """Return an option that is an argument of torch's module. default: of the argument, in torch's terms."""
    return TorchOption(name, default, convert)


def remark(text: str | Callable[[Any, Any], str], usual: Any = None) -> TorchOption:
    """Return an option that torch code around the module must follow. usual: the value that needs no remark."""
    return TorchOption(remark=text, usual=usual)


def only(supports: Callable[[Any], bool]) -> TorchOption:
    """Return an option of which torch's module supports only some values."""
    return TorchOption(supports=supports)


def per_axis(values: tuple[int, ...] | None) -> int | tuple[int, ...] | None:
    """Return the values of several axes as torch code writes them: one number if all are equal."""
    return values[0] if values is not None and len(set(values)) == 1 else values


def option_text(value: Any) -> str:
    """Return the value of an option as a document writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(option_text, value))}]"
    return "null" if value is None else str(value)
