"""Basic layers: dense, embeddings, activation, scaling."""

from collections.abc import Iterator, Sequence

import paramctl.model.layers.flax as flax_modules
from paramctl.core.parameter import Parameter, batch_axis, bias, in_axis, out_axis, weight
from paramctl.core.views import Arrangement, view
from paramctl.declare.option_types import Count, Flag, Number, Positive, Scheme
from paramctl.model.layers.activations import APPLIED, AnyActivation, activate, activated_shape
from paramctl.model.layers.activations import Activation as ActivationOption
from paramctl.model.layers.base import Layer, default_scheme
from paramctl.model.layers.call import Array, Call, NotComputed
from paramctl.model.layers.flax import FlaxModule
from paramctl.model.layers.order import (
    ANY_AXES,
    CHANNELS_FIRST,
    CHANNELS_LAST,
    EITHER,
    PLAIN,
    SAME_AXES,
    UNKNOWN,
    Order,
    TorchInput,
    for_features_last,
)
from paramctl.model.layers.shapes import ShapeError, Sizes, known_size, product
from paramctl.model.layers.torch import Shapes, TorchTensor, channels_first, optional_bias, same, transposed
from paramctl.model.layers.torch_draws import InitCall, linear
from paramctl.model.layers.torch_options import CARRIED, IN_CODE, options, remark


class Dense(Layer):
    """Fully connected layer over the last axis: activation(x @ kernel + bias)."""

    torch_module = "Linear"
    keeps_mask = True
    torch_options = options(units=CARRIED, activation=APPLIED, use_bias=CARRIED)
    torch_takes_flat = True
    input_axes = "batch, ..., features"
    units: Count
    activation: ActivationOption | None = None
    use_bias: Flag = True
    kernel_initializer: Scheme = default_scheme("glorot_uniform")
    bias_initializer: Scheme = default_scheme("zeros")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        yield weight("kernel", self.kernel_initializer, in_axis(known_size(x, -1)), out_axis(self.units))
        if self.use_bias:
            yield bias("bias", self.bias_initializer, out_axis(self.units))

    def macs(self, x: Sizes) -> int | None:
        return product(*x[1:], self.units)

    def output(self, x: Sizes) -> Sizes:
        return activated_shape(self.activation, (*x[:-1], self.units))

    def compute(self, call: Call, x: Array) -> Array:
        output = call.xp.linear(x, call.parameters["kernel"], call.parameters.get("bias"))
        return activate(self.activation, call.xp, output)

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        order = orders[0]
        if order.flat is not None:
            return PLAIN
        # On a feature map, torch code may move the channels last for nn.Linear and leave them there.
        return EITHER if order == CHANNELS_LAST else order

    def required_order(self, shape: Sizes) -> Order | None:
        return for_features_last(shape)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        """Yield nn.Linear's weight (out, in) and bias; after a flattened feature map, its inputs are permuted too."""
        inputs, units = shapes["kernel"]
        flat = x.order.flat
        if flat is not None:
            part = view("kernel", (*flat, units), (len(flat), *channels_first(flat)))
            yield TorchTensor("weight", Arrangement((units, inputs), (part,)))
        else:
            yield transposed("weight", "kernel", (inputs, units), (1, 0))
        yield from optional_bias(shapes)

    def torch_draws(self, tensors: Shapes) -> Iterator[InitCall]:
        return linear(tensors)

    flax = staticmethod(flax_modules.linear)


class Embedding(Layer):
    """Table lookup: a row of embeddings for each integer of the input; with mask_zero, 0 is padding."""

    torch_module = "Embedding"
    torch_options = options(
        input_dim=CARRIED,
        output_dim=CARRIED,
        mask_zero=remark(
            "mask_zero: torch has padding_idx but no masks, so later layers do not skip the index 0", False
        ),
    )
    input_dim: Count
    output_dim: Count
    embeddings_initializer: Scheme = default_scheme("random_uniform")
    mask_zero: Flag = False

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        yield weight("embeddings", self.embeddings_initializer, batch_axis(self.input_dim), out_axis(self.output_dim))

    def output(self, x: Sizes) -> Sizes:
        return (*x, self.output_dim)

    def categories(self) -> int | None:
        return self.input_dim

    def compute(self, call: Call, x: Array) -> Array:
        # a whole number may be written as a float
        integers = x if x.dtype.kind in "iu" else x.astype("int64")
        valid = (integers == x) & (integers >= 0) & (integers < self.input_dim)
        if not valid.all():
            received = x[~valid].reshape(-1)[0]
            raise NotComputed(f"the input must have whole numbers from 0 to {self.input_dim - 1:,} (got {received})")
        return call.parameters["embeddings"][integers]

    def output_mask(self, call: Call, x: Array) -> Array | None:
        return x != 0 if self.mask_zero else None

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        if orders[0] in SAME_AXES:
            return PLAIN
        return ANY_AXES if shapes[0] is not None and len(shapes[0]) > 2 and orders[0] != UNKNOWN else UNKNOWN

    def required_order(self, shape: Sizes) -> Order | None:
        return PLAIN  # indices have no channels

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        yield same("weight", "embeddings", shapes["embeddings"])

    def torch_draws(self, tensors: Shapes) -> Iterator[InitCall]:
        yield InitCall("weight", "normal_", padded=self.mask_zero)

    def flax(self, shapes: Shapes) -> Iterator[FlaxModule]:
        yield FlaxModule("Embed", (flax_modules.tensor("embedding", "embeddings", shapes["embeddings"], "embed"),))


class PositionEmbedding(Layer):
    """Learned vectors added to the positions of a sequence. Not in Keras."""

    torch_module = "Embedding"
    torch_options = options(sequence_length=CARRIED)
    in_keras = False
    keeps_mask = True
    input_axes = "batch, ..., positions, features"
    sequence_length: Count
    embeddings_initializer: Scheme = default_scheme("random_uniform")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        features = out_axis(known_size(x, -1))
        yield weight("embeddings", self.embeddings_initializer, batch_axis(self.sequence_length), features)

    def output(self, x: Sizes) -> Sizes:
        # a shorter input uses the first rows of the table
        if x[-2] is not None and x[-2] > self.sequence_length:
            raise ShapeError(f"the input must have at most {self.sequence_length} positions")
        return x

    def compute(self, call: Call, x: Array) -> Array:
        return x + call.parameters["embeddings"][: x.shape[-2]]

    def required_order(self, shape: Sizes) -> Order | None:
        return for_features_last(shape)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        yield same("weight", "embeddings", shapes["embeddings"])

    def torch_draws(self, tensors: Shapes) -> Iterator[InitCall]:
        yield InitCall("weight", "normal_")


class ClassToken(Layer):
    """Learned vector prepended to a sequence. Not in Keras."""

    in_keras = False
    input_axes = "batch, positions, features"
    embeddings_initializer: Scheme = default_scheme("zeros")

    def parameters(self, x: Sizes) -> Iterator[Parameter]:
        yield weight("embeddings", self.embeddings_initializer, batch_axis(1), out_axis(known_size(x, -1)))

    def output(self, x: Sizes) -> Sizes:
        return (x[0], None if x[1] is None else x[1] + 1, x[2])

    def compute(self, call: Call, x: Array) -> Array:
        tokens = call.xp.repeat(call.parameters["embeddings"][None], x.shape[0], axis=0)
        return call.xp.concatenate([tokens, x], axis=1)

    def output_mask(self, call: Call, x: Array) -> Array | None:
        xp, mask = call.xp, call.mask
        # the token itself is never skipped
        return None if mask is None else xp.concatenate([xp.ones_like(mask[:, :1]), mask], axis=1)

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return orders[0]

    def required_order(self, shape: Sizes) -> Order | None:
        return for_features_last(shape)

    def torch(self, shapes: Shapes, x: TorchInput) -> Iterator[TorchTensor]:
        yield same("embeddings", "embeddings", shapes["embeddings"])


class Activation(Layer):
    """Activation function; ``- relu`` is short for ``- activation: relu``."""

    torch_options = options(activation=IN_CODE)
    keeps_mask = True
    activation: AnyActivation

    def output(self, x: Sizes) -> Sizes:
        return self.activation.output(x)

    def compute(self, call: Call, x: Array) -> Array:
        return self.activation.compute(call.xp, x)

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        # glu halves an axis of a feature map, which stays one
        keeps_axes = orders[0] in (CHANNELS_FIRST, CHANNELS_LAST, EITHER, ANY_AXES)
        return orders[0] if keeps_axes else super().channel_order(orders, shapes, output)

    def torch_remarks(self, x: TorchInput) -> Iterator[str]:
        """Yield the function if torch.nn lacks it, or if its options have other defaults there."""
        axis = vars(self.activation).get("axis")
        place = x.axis(axis) if axis is not None and x.order == CHANNELS_LAST else None
        if vars(self.activation) or not self.activation.torch_module:
            yield f"this is {self.activation.torch_text(place)}"


class Rescaling(Layer):
    """x * scale + offset."""

    torch_options = options(scale=IN_CODE, offset=IN_CODE)
    keeps_mask = True
    scale: Number
    offset: Number = 0.0

    def compute(self, call: Call, x: Array) -> Array:
        return x * self.scale + self.offset


class Identity(Layer):
    """The input, unchanged."""

    keeps_mask = True

    def compute(self, call: Call, x: Array) -> Array:
        return x


class Masking(Layer):
    """Mask of the steps whose values all equal mask_value; later layers skip them."""

    torch_options = options(mask_value=remark("torch has no masks, so later layers do not skip the steps of {}"))
    keeps_mask = True
    input_axes = "batch, steps, ..."
    mask_value: Number = 0.0

    def compute(self, call: Call, x: Array) -> Array:
        return call.xp.where(self._kept(call, x)[..., None], x, 0)

    def output_mask(self, call: Call, x: Array) -> Array | None:
        return self._kept(call, x)

    def _kept(self, call: Call, x: Array) -> Array:
        return call.xp.any(x != self.mask_value, axis=-1)

    def required_order(self, shape: Sizes) -> Order | None:
        return for_features_last(shape)


class HalveWhile(Layer):
    """x, halved while the sum of its absolute values exceeds a limit (D2L's FancyMLP). Not in Keras."""

    torch_options = options(limit=IN_CODE)
    in_keras = False
    keeps_mask = True
    limit: Positive = 1.0

    def compute(self, call: Call, x: Array) -> Array:
        xp = call.xp
        # the loop below would not end
        if xp.any(xp.isinf(x)):
            raise NotComputed("the input must be finite: half of an infinity is infinite (got an infinity)")
        while xp.sum(xp.abs(x)) > self.limit:
            x = x / 2
        return x

    def mixes_examples(self, output: Sizes | None, inputs: Sequence[Sizes | None] = ()) -> bool:
        return True


class ReduceSum(Layer):
    """Sum over all axes, including the batch: a scalar (D2L's FancyMLP). Not in Keras."""

    in_keras = False

    def output(self, x: Sizes) -> Sizes:
        return ()

    def compute(self, call: Call, x: Array) -> Array:
        return call.xp.sum(x)

    def mixes_examples(self, output: Sizes | None, inputs: Sequence[Sizes | None] = ()) -> bool:
        return True

    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return orders[0]
