"""The tensors of a model in torch.nn's layout: names with dots, and the tensors that each layer gives."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from paramctl.conversion.channel_order import layer_inputs
from paramctl.core.parameter import Axis, Parameter, ParameterKind
from paramctl.core.views import Arrangement, inverse, of_owner, view
from paramctl.model import Block, Model, Tie
from paramctl.model.layers.order import UNKNOWN, TorchInput
from paramctl.model.layers.torch import NoCounterpart


class PlacedTensor(NamedTuple):
    """A tensor of a torch model; the fields of TorchTensor with names and paths of the model.

    layer: the path of the Keras layer that it belongs to.
    """

    layer: str
    name: str
    arrangement: Arrangement
    dtype: str | None
    synthetic: bool
    adds_to: str | None


@dataclass
class TorchLayout:
    """A model in torch's layout.

    tensors: by name, in the model's order.
    unsupported: the parameters of layers without a counterpart in torch.nn, by path: the
        layer and the reason.
    notes: the settings with which torch code computes the same, by the layer's path.
    """

    tensors: dict[str, PlacedTensor] = field(default_factory=dict)
    unsupported: dict[str, str] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def to_keras(self, model: Model, available: Container[str]) -> dict[str, Arrangement]:
        """Return each parameter of the model as an arrangement of the tensors. available: the names that exist."""
        shapes = {path: parameter.shape for path, parameter in model.parameters.items()}
        arrangements = inverse({name: tensor.arrangement for name, tensor in self.tensors.items()}, shapes)
        for name, tensor in self.tensors.items():
            # torch.nn.LSTM has two biases where Keras has one, and computes with their sum.
            if tensor.adds_to is not None and name in available:
                first = arrangements[tensor.adds_to]
                second = view(name, tensor.arrangement.shape)
                arrangements[tensor.adds_to] = Arrangement(first.shape, (*first.views, second), summed=True)
        return arrangements


def torch_layout(model: Model) -> TorchLayout:
    """Return the torch layout of a model whose layers are known."""
    layout = TorchLayout()
    inputs = layer_inputs(model)
    for block in model.walk():
        if block.reuse_of is not None:  # a reuse has the parameters of its first use
            continue
        if block.layer is not None and not block.inner_ids:
            layout.notes[block.path] = list(block.layer.torch_notes(inputs.get(block.path, TorchInput(UNKNOWN))))
        if not block.parameters:
            continue
        start = len(block.path) + 1
        shapes = {parameter.path[start:]: parameter.shape for parameter in block.parameters}
        try:
            if block.layer is None:
                raise NoCounterpart(_unknown_layer(block))
            x = inputs.get(block.path, TorchInput(UNKNOWN))
            tensors = [tensor.under(block.path) for tensor in block.layer.torch_tensors(shapes, x)]
            for tensor in tensors:
                check_same_dtype({path: model.owner(path).dtype for path in tensor.arrangement.paths})
            layout.tensors |= {tensor.name: PlacedTensor(block.path, *tensor) for tensor in tensors}
        except NoCounterpart as error:
            reason = f"{block.path}: {error}"
            layout.unsupported |= dict.fromkeys((parameter.path for parameter in block.parameters), reason)
    return layout


def check_same_dtype(dtypes: Mapping[str, str]) -> None:
    """Raise NoCounterpart unless all arrays of one tensor have the same dtype. dtypes: by name."""
    if len(set(dtypes.values())) > 1:
        arrays = " and ".join(f"{name} ({dtype})" for name, dtype in dtypes.items())
        raise NoCounterpart(f"{arrays} become one array, so they must have the same dtype: cast them with --dtype")


def _unknown_layer(block: Block) -> str:
    if block.type in ("group", "array"):  # of a file that holds only arrays
        return f"the layer type of {block.path} is unknown"
    return f"the type of {block.path}, {block.type}, has no known counterpart in torch.nn"


def torch_parameters(layout: TorchLayout, model: Model) -> dict[str, Parameter]:
    """Return the tensors as parameters, by name."""
    return {name: _parameter(tensor, model) for name, tensor in layout.tensors.items()}


def _parameter(tensor: PlacedTensor, model: Model) -> Parameter:
    sources = [model.parameters[path] for path in tensor.arrangement.paths]
    if sources:
        dtype = tensor.dtype or model.owner(sources[0].path).dtype
        trainable = any(source.trainable for source in sources)
        return Parameter(tensor.name, _axes(tensor, sources), sources[0].kind, trainable, None, dtype)
    # Without sources it is num_batches_tracked (dtype), a normalization's weight or bias, or a second bias (adds_to).
    kind: ParameterKind = "state" if tensor.dtype else "norm" if tensor.adds_to is None else "bias"
    dtype = tensor.dtype or _layer_dtype(tensor.layer, model)
    return Parameter(tensor.name, _axes(tensor, sources), kind, tensor.dtype is None, None, dtype)


def _layer_dtype(layer: str, model: Model) -> str:
    """Return the dtype of a layer's first parameter."""
    return model.owner(next(path for path in model.parameters if path.startswith(f"{layer}/"))).dtype


def _axes(tensor: PlacedTensor, sources: Sequence[Parameter]) -> tuple[Axis, ...]:
    """Return the axes, with their roles if they are a permutation of one parameter's axes."""
    arrangement = tensor.arrangement
    if len(arrangement.views) == 1:
        part = arrangement.views[0]
        if part.shape == sources[0].shape and arrangement.shape == part.result_shape:
            return tuple(sources[0].axes[axis] for axis in part.axes)
    return tuple(Axis(size, "unknown") for size in arrangement.shape)


def torch_ties(tensors: Iterable[PlacedTensor], model: Model) -> tuple[Tie, ...]:
    """Return the ties between tensors with the same values in the same order.

    torch cannot tie a tensor to another's transpose, so such a tie of the model becomes a copy.
    """
    groups: dict[Arrangement, list[PlacedTensor]] = {}
    for tensor in tensors:
        if tensor.arrangement.views:
            groups.setdefault(_of_owners(tensor.arrangement, model), []).append(tensor)
    ties = []
    for group in groups.values():
        untied = (tensor for tensor in group if model.tied.keys().isdisjoint(tensor.arrangement.paths))
        kept = next(untied, group[0])
        ties += [Tie(kept.name, tensor.name) for tensor in group if tensor is not kept]
    return tuple(ties)


def _of_owners(arrangement: Arrangement, model: Model) -> Arrangement:
    """Return an arrangement with tied parameters replaced by those they are tied to, where a view can express it."""
    views = []
    for part in arrangement.views:
        tie = model.tied.get(part.path)
        owner = part._replace(path=tie.kept) if tie is not None else part
        if tie is not None and tie.transpose:
            owner = of_owner(part, tie.kept, model.parameters[part.path].shape) or part
        views.append(owner)
    return replace(arrangement, views=tuple(views))
