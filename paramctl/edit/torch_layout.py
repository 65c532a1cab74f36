"""A model's parameters as torch.nn has them, and back: names with dots, and each layer by its rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from paramctl.edit.arrange import Arrangement, turned_round, view
from paramctl.edit.orders import UNKNOWN, Orders
from paramctl.edit.torch_rules import NoCounterpart, Tensor, tensors
from paramctl.model import Block, Model, Tie
from paramctl.parameter import Axis, Parameter


class Laid(NamedTuple):
    """An array of torch's, made of those of a model; ``of`` is the path of the layer."""

    name: str
    of: str
    made: Arrangement
    dtype: str | None
    dropped: bool
    partner: str | None


@dataclass
class Layout:
    """All arrays of a model in torch's layout, and the parameters of layers that torch.nn has not, with the reason."""

    laid: dict[str, Laid] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)

    def back(self, model: Model) -> dict[str, Arrangement]:
        """What each parameter of the model is in terms of torch's arrays."""
        shapes = {path: parameter.shape for path, parameter in model.parameters.items()}
        made = turned_round({name: each.made for name, each in self.laid.items()}, shapes)
        for name, each in self.laid.items():
            if each.partner is not None:
                own = made[each.partner]
                other = view(name, each.made.shape)
                made[each.partner] = Arrangement(own.shape, (*own.views, other), added=True)
        return made


def layout(model: Model) -> Layout:
    """The arrays of a model whose layers are known, as torch.nn has them, in the model's order."""
    found = Layout()
    taken = Orders(model).taken
    for block in model.walk():
        if not block.parameters or block.reuse_of is not None:
            continue
        start = len(block.path) + 1
        shapes = {each.path[start:]: each.shape for each in block.parameters}
        try:
            if block.layer is None:
                raise NoCounterpart(_not_known(block))
            for tensor in tensors(block.layer, shapes, taken.get(block.path, UNKNOWN)):
                made = _laid(block.path, tensor)
                found.laid[made.name] = made
        except NoCounterpart as error:
            found.without |= {each.path: str(error) for each in block.parameters}
    return found


def _not_known(block: Block) -> str:
    if block.type in ("group", "array"):
        return f"which layer {block.path} is, is not known"
    return f"{block.path} is of the type {block.type}, of which no counterpart in torch.nn is known"


def _laid(path: str, tensor: Tensor) -> Laid:
    views = tuple(each._replace(path=f"{path}/{each.path}") for each in tensor.made.views)
    partner = f"{path}/{tensor.partner}" if tensor.partner else None
    name = f"{path.replace('/', '.')}.{tensor.name}"
    return Laid(name, path, replace(tensor.made, views=views), tensor.dtype, tensor.dropped, partner)


def parameters(found: Layout, model: Model) -> dict[str, Parameter]:
    """The parameters that torch's arrays are."""
    return {name: _parameter(each, model) for name, each in found.laid.items()}


def _parameter(laid: Laid, model: Model) -> Parameter:
    sources = [model.parameters[path] for path in laid.made.paths]
    dtype = laid.dtype or (model.owner(sources[0].path).dtype if sources else _dtype_beside(laid, model))
    kind = sources[0].kind if sources else "state" if laid.dtype else "norm" if laid.partner is None else "bias"
    trainable = any(each.trainable for each in sources) if sources else laid.dtype is None
    return Parameter(laid.name, _axes(laid, sources), kind, trainable, None, dtype)


def _dtype_beside(laid: Laid, model: Model) -> str:
    """The dtype of an array that is made here: that of its layer's others."""
    beside = (path for path in model.parameters if path.startswith(f"{laid.of}/"))
    return model.owner(next(beside)).dtype


def _axes(laid: Laid, sources: Sequence[Parameter]) -> tuple[Axis, ...]:
    """The axes, with their roles where they are those of one array in another order."""
    if len(laid.made.views) == 1:
        seen = laid.made.views[0]
        if seen.shape == sources[0].shape and laid.made.shape == seen.gives:
            return tuple(sources[0].axes[axis] for axis in seen.order)
    return tuple(Axis(size, "unknown") for size in laid.made.shape)


def ties(found: Layout, model: Model) -> tuple[Tie, ...]:
    """The ties that are left, between arrays that have become the same; the others are copies, for torch turns none."""
    by_path: dict[str, list[Laid]] = {}
    for each in found.laid.values():
        for path in each.made.paths:
            by_path.setdefault(path, []).append(each)
    made = []
    for tie in model.ties:
        kept, tied = by_path.get(tie.kept, []), by_path.get(tie.tied, [])
        if len(kept) != 1 or len(tied) != 1 or any(len(each[0].made.views) != 1 for each in (kept, tied)):
            continue
        one, other = kept[0], tied[0]
        orders = [_order(each.made, model.parameters[each.made.paths[0]].shape) for each in (one, other)]
        if None in orders:
            continue
        if (orders[0] != orders[1]) == tie.transpose:
            made.append(Tie(one.name, other.name))
    return tuple(made)


def _order(made: Arrangement, shape: tuple[int, ...]) -> bool | None:
    """Whether a matrix is turned; None if something else is done to it."""
    seen = made.views[0]
    if made.straight:
        return False
    return True if seen.shape == shape and seen.order == (1, 0) and seen.gives == made.shape else None
