"""A model's parameters as torch.nn has them, and back: names with dots, and each layer by its rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from paramctl.edit.arrange import Arrangement, turned_round, view
from paramctl.edit.torch_rules import NOT_KNOWN, Flat, NoCounterpart, Tensor, tensors
from paramctl.model import Block, Model, Tie
from paramctl.model.layers import Layer, Sizes
from paramctl.model.layers.merging import Concatenate, Elementwise
from paramctl.model.layers.rectifying import PReLU
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
    flats = dict(_Images(model).flats)
    for block in model.walk():
        if not block.parameters or block.reuse_of is not None:
            continue
        start = len(block.path) + 1
        shapes = {each.path[start:]: each.shape for each in block.parameters}
        try:
            if block.layer is None:
                raise NoCounterpart(_not_known(block))
            for tensor in tensors(block.layer, shapes, flats.get(block.gives)):
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


class _Images:
    """Finds which layers take an image laid flat, whose channels torch has first.

    An image is what a layer over axes of space gives with its channels last, and what layers that keep every value in
    its place make of it; and an input with four axes, the batch among them.
    """

    def __init__(self, model: Model) -> None:
        self.images = {-1 - k for k, each in enumerate(model.inputs) if each.shape is not None and len(each.shape) == 4}
        self.laid: dict[int, Flat] = {}  # by the number of an output, the image that it is, laid flat
        self.shapes: dict[int, Sizes | None] = {-1 - k: each.shape for k, each in enumerate(model.inputs)}
        self.flats: dict[int, Flat] = {}  # by what a layer gives, the image that it takes
        self.blocks(model.blocks)

    def blocks(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            self.blocks(block.blocks)
            self.shapes[block.gives] = block.output
            if block.ends:
                self.through(block, block.ends)
            elif block.takes and block.layer is not None:
                self.layer(block, block.layer)
            elif block.takes:
                self.unknown(block, block.takes[0])

    def layer(self, block: Block, layer: Layer) -> None:
        before = block.takes[0]
        if before in self.laid:
            self.flats[block.gives] = self.laid[before]
        if layer.rank:
            first = vars(layer).get("data_format") == "channels_first"
            if not first and block.output is not None and len(block.output) == layer.rank + 2:
                self.images.add(block.gives)
        elif layer.type in ("flatten", "reshape"):
            shape = self.shapes.get(before)
            flat = block.output is not None and len(block.output) == 2
            if before in self.images and flat and vars(layer).get("data_format") != "channels_first":
                sizes = tuple(size for size in shape[1:] if size is not None) if shape is not None else ()
                self.laid[block.gives] = sizes if shape is not None and len(sizes) == len(shape) - 1 else NOT_KNOWN
        elif isinstance(layer, (Elementwise, Concatenate)) or (
            block.output == self.shapes.get(before) and (isinstance(layer, PReLU) or not _mixes(block))
        ):
            self.through(block, block.takes)

    def unknown(self, block: Block, before: int) -> None:
        """A layer of a class that is not known: as far as shapes tell, it leaves an image one, and values in place."""
        if block.output == self.shapes.get(before):
            self.through(block, block.takes[:1])
        elif before in self.images and (block.output is None or len(block.output) == 4):
            self.images.add(block.gives)

    def through(self, block: Block, sources: Sequence[int]) -> None:
        """What leaves the values of its sources in their places."""
        images = [number in self.images for number in sources]
        if images and all(images) and block.output is not None and len(block.output) > 2:
            self.images.add(block.gives)
        flat = {self.laid.get(number) for number in sources}
        if len(flat) == 1 and block.output == self.shapes.get(sources[0]):
            (only,) = flat
            if only is not None:
                self.laid[block.gives] = only


def _mixes(block: Block) -> bool:
    """Whether a layer has weights, by which each value that it gives is of several that it takes."""
    return any(each.kind in ("weight", "bias") for each in block.parameters)
