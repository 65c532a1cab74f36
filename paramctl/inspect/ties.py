"""Layers that are used again, which share their parameters without a tie."""

from __future__ import annotations

from collections.abc import Sequence

from paramctl.address.resolve import resolve
from paramctl.declare.located import scalar_text
from paramctl.errors import AddressError
from paramctl.inspect.layers import default_text
from paramctl.model import Block, Model


def refuse_reuse(model: Model, addresses: Sequence[str]) -> None:
    """Raise AddressError, with the line to write, for a parameter of a layer that a ``reuse`` applies again."""
    again = {block.reuse_of: block for block in model.walk() if block.reuse_of is not None}
    for text in addresses:
        for path in resolve(model, text).paths:
            for reused, block in again.items():
                if path.startswith(f"{reused}/") and path not in model.tied:
                    rule = f"{reused} is one layer, applied again by 'reuse': write another in the place of that"
                    raise AddressError(rule, repr(text), f"The line is: - {_line(block)}")


def _line(block: Block) -> str:
    """The layer as a document would have it."""
    if block.layer is None:
        return block.type
    options = {
        name: scalar_text(default_text(value))
        for name, option in block.layer.signature.items()
        if (value := getattr(block.layer, name)) != option.default
    }
    inside = ", ".join(f"{name}: {text}" for name, text in options.items())
    return f"{block.type}: {{{inside}}}" if inside else block.type
