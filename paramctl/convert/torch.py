"""A model's parameters as torch.nn has them, and back: names with dots, and each layer by its rule."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from paramctl.convert.channel_order import UNKNOWN, Orders
from paramctl.convert.torch_rules import NoCounterpart, TorchTensor, tensors
from paramctl.core.parameter import Axis, Parameter
from paramctl.core.views import Arrangement, inverse, of_owner, view
from paramctl.model import Block, Model, Tie


class PlacedTensor(NamedTuple):
    """An array of torch's, made of those of a model; ``of`` is the path of the layer."""

    name: str
    of: str
    made: Arrangement
    dtype: str | None
    dropped: bool
    partner: str | None


@dataclass
class TorchLayout:
    """All arrays of a model in torch's layout, and the parameters of layers that torch.nn has not, with the reason."""

    laid: dict[str, PlacedTensor] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)

    def back(self, model: Model, there: Container[str]) -> dict[str, Arrangement]:
        """What each parameter of the model is in terms of torch's arrays, of which those in ``there`` are there."""
        shapes = {path: parameter.shape for path, parameter in model.parameters.items()}
        made = inverse({name: each.made for name, each in self.laid.items()}, shapes)
        for name, each in self.laid.items():
            if each.partner is not None and name in there:
                own = made[each.partner]
                other = view(name, each.made.shape)
                made[each.partner] = Arrangement(own.shape, (*own.views, other), summed=True)
        return made


def layout(model: Model) -> TorchLayout:
    """The arrays of a model whose layers are known, as torch.nn has them, in the model's order."""
    found = TorchLayout()
    taken = Orders(model).taken
    for block in model.walk():
        if not block.parameters or block.reuse_of is not None:
            continue
        start = len(block.path) + 1
        shapes = {each.path[start:]: each.shape for each in block.parameters}
        try:
            if block.layer is None:
                raise NoCounterpart(_not_known(block))
            made = [_laid(block.path, each) for each in tensors(block.layer, shapes, taken.get(block.path, UNKNOWN))]
            for each in made:
                check_alike({path: model.owner(path).dtype for path in each.made.paths})
            found.laid |= {each.name: each for each in made}
        except NoCounterpart as error:
            found.without |= {each.path: str(error) for each in block.parameters}
    return found


def check_alike(dtypes: Mapping[str, str]) -> None:
    """Raise NoCounterpart unless arrays that become one have one dtype. dtypes: by their names."""
    if len(set(dtypes.values())) > 1:
        words = " and ".join(f"{name} ({dtype})" for name, dtype in dtypes.items())
        raise NoCounterpart(f"{words} become one array, and have not one dtype: --dtype gives them one")


def _not_known(block: Block) -> str:
    if block.type in ("group", "array"):
        return f"which layer {block.path} is, is not known"
    return f"{block.path} is of the type {block.type}, of which no counterpart in torch.nn is known"


def _laid(path: str, tensor: TorchTensor) -> PlacedTensor:
    views = tuple(each._replace(path=f"{path}/{each.path}") for each in tensor.made.views)
    partner = f"{path}/{tensor.partner}" if tensor.partner else None
    name = f"{path.replace('/', '.')}.{tensor.name}"
    return PlacedTensor(name, path, replace(tensor.made, views=views), tensor.dtype, tensor.dropped, partner)


def parameters(found: TorchLayout, model: Model) -> dict[str, Parameter]:
    """The parameters that torch's arrays are."""
    return {name: _parameter(each, model) for name, each in found.laid.items()}


def _parameter(laid: PlacedTensor, model: Model) -> Parameter:
    sources = [model.parameters[path] for path in laid.made.paths]
    dtype = laid.dtype or (model.owner(sources[0].path).dtype if sources else _dtype_beside(laid, model))
    kind = sources[0].kind if sources else "state" if laid.dtype else "norm" if laid.partner is None else "bias"
    trainable = any(each.trainable for each in sources) if sources else laid.dtype is None
    return Parameter(laid.name, _axes(laid, sources), kind, trainable, None, dtype)


def _dtype_beside(laid: PlacedTensor, model: Model) -> str:
    """The dtype of an array that is made here: that of its layer's others."""
    beside = (path for path in model.parameters if path.startswith(f"{laid.of}/"))
    return model.owner(next(beside)).dtype


def _axes(laid: PlacedTensor, sources: Sequence[Parameter]) -> tuple[Axis, ...]:
    """The axes, with their roles where they are those of one array in another order."""
    if len(laid.made.views) == 1:
        seen = laid.made.views[0]
        if seen.shape == sources[0].shape and laid.made.shape == seen.result_shape:
            return tuple(sources[0].axes[axis] for axis in seen.axes)
    return tuple(Axis(size, "unknown") for size in laid.made.shape)


def ties(found: TorchLayout, model: Model) -> tuple[Tie, ...]:
    """The ties between arrays that are the same in torch's layout; others are copies, for torch turns no tied array."""
    groups: dict[Arrangement, list[PlacedTensor]] = {}
    for each in found.laid.values():
        if each.made.views:
            groups.setdefault(_of_owners(each.made, model), []).append(each)
    made = []
    for group in groups.values():
        kept = next((each for each in group if model.tied.keys().isdisjoint(each.made.paths)), group[0])
        made += [Tie(kept.name, each.name) for each in group if each is not kept]
    return tuple(made)


def _of_owners(made: Arrangement, model: Model) -> Arrangement:
    """An arrangement in terms of the arrays that tied names have, as far as a view tells that."""
    views = []
    for seen in made.views:
        tie = model.tied.get(seen.path)
        own = seen._replace(path=tie.kept) if tie is not None else seen
        if tie is not None and tie.transpose:
            own = of_owner(seen, tie.kept, model.parameters[seen.path].shape) or seen
        views.append(own)
    return replace(made, views=tuple(views))
