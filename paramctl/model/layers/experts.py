"""A mixture of experts: copies of a list of layers, of which a router chooses some for each position."""

from collections.abc import Iterator, Mapping, Sequence

from paramctl.declare.located import Located
from paramctl.declare.option_types import Count, Scheme
from paramctl.model.layers.base import Layer, default_scheme
from paramctl.model.layers.branching import Branch, Branching, Entries
from paramctl.model.layers.call import Array, Call
from paramctl.model.layers.core import Dense
from paramctl.model.layers.merging import common_shape
from paramctl.model.layers.order import Order
from paramctl.model.layers.shapes import ShapeError, Sizes
from paramctl.model.layers.torch_options import IN_CODE, options


class Experts(Branching):
    """Mean of the best experts of each position, weighted by the softmax of their scores. Not in Keras.

    Each expert is a copy of the layers. The router is a dense layer without bias, and gives a score to each expert. The
    softmax is over the scores of the best, which is the softmax over all, renormalized. All experts compute every
    position. Shazeer et al. (2017); Jiang et al. (2024), Mixtral.
    """

    torch_options = options(count=IN_CODE, top=IN_CODE, layers=IN_CODE)
    in_keras = False
    keeps_mask = True
    input_axes = "batch, ..., features"
    count: Count
    top: Count
    layers: Entries
    router_initializer: Scheme = default_scheme("glorot_uniform")

    def own_layers(self) -> Mapping[str, Layer]:
        return {"router": Dense(units=self.count, use_bias=False, kernel_initializer=self.router_initializer)}

    def lists(self) -> Iterator[Branch]:
        return (Branch(Located(f"expert-{index}"), self.layers) for index in range(self.count))

    def merge_layer(self) -> Layer:
        return self

    def output(self, *outputs: Sizes) -> Sizes:
        """Return the shape of an expert's output. outputs: the shape of the scores, then those of the experts."""
        scores, shape = outputs[0], common_shape(outputs[1:])
        if self.top > self.count:
            raise ShapeError(f"top {self.top} must be at most count {self.count}")
        if len(shape) != len(scores) or any(a != b for a, b in zip(shape[:-1], scores[:-1], strict=True) if a and b):
            raise ShapeError("the experts must keep all axes of the input except for the last")
        return shape

    def compute(self, call: Call, scores: Array, *outputs: Array) -> Array:
        xp = call.xp
        # the rank of each expert; of equal scores, the first is better
        ranks = xp.argsort(xp.argsort(-scores, axis=-1, kind="stable"), axis=-1)
        # the largest score is always among the best, so the sum below is at least 1
        weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True)) * (ranks < self.top).astype(scores.dtype)
        weights = weights / xp.sum(weights, axis=-1, keepdims=True)
        # one sum after another, because a stack of all outputs would need as much memory again
        mixed = outputs[0] * weights[..., :1]
        for index, output in enumerate(outputs[1:], 1):
            mixed = mixed + output * weights[..., index : index + 1]
        return mixed

    # the scores are no features of the output, so the order is that of the experts alone
    def channel_order(self, orders: Sequence[Order], shapes: Sequence[Sizes | None], output: Sizes | None) -> Order:
        return super().merge_layer().channel_order(orders[1:], shapes[1:], output)
