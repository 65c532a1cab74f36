"""Relative positions in attention: a learned addend of scores for each head and each range of distances.

Raffel et al. (2020), T5. The ranges are those of its code:
https://github.com/tensorflow/mesh/blob/master/mesh_tensorflow/transformer/transformer_layers.py
(_relative_position_bucket)
"""

from collections.abc import Iterator
from math import log
from typing import Annotated, Any

from paramctl.core.parameter import Parameter, batch_axis, out_axis, weight
from paramctl.declare.located import Located
from paramctl.declare.option_types import Count, Flag, OptionType, Scheme
from paramctl.declare.options import Configurable
from paramctl.model.layers.base import default_scheme
from paramctl.model.layers.call import Array, Call
from paramctl.model.layers.shapes import ShapeError

TABLE = "relative_position/embeddings"


class RelativePosition(Configurable):
    """A table with a row for each bucket of distances, and a column for each head.

    buckets: the number of rows. If bidirectional, half of them are for keys after the query; otherwise these count as
        at distance 0. Half of the rows of a direction have one distance each; the others have ranges that grow
        logarithmically up to max_distance. All further distances are in the last one.
    """

    buckets: Count = 32
    max_distance: Count = 128
    bidirectional: Flag = True
    embeddings_initializer: Scheme = default_scheme("random_uniform")

    def check(self) -> None:
        """Raise ShapeError for buckets that cannot be divided."""
        # two directions, each with a half of single distances and a half of ranges
        parts = 4 if self.bidirectional else 2
        if self.buckets < parts or self.buckets % parts:
            raise ShapeError(f"buckets of relative_position must be a multiple of {parts}, not {self.buckets}")
        if self.max_distance <= self.buckets // parts:
            raise ShapeError(f"max_distance of relative_position must be above {self.buckets // parts}")

    def parameters(self, heads: int) -> Iterator[Parameter]:
        yield weight(TABLE, self.embeddings_initializer, batch_axis(self.buckets), out_axis(heads))

    def addend(self, call: Call, queries: int, keys: int) -> Array:
        """Return the addend of scores, (heads, queries, keys)."""
        xp = call.xp
        distances = xp.arange(queries)[:, None] - xp.arange(keys)  # positive for keys before the query
        return xp.transpose(call.parameters[TABLE][self.buckets_of(xp, distances)], (2, 0, 1))

    def buckets_of(self, xp: Any, distances: Array) -> Array:
        """Return the bucket of each distance of a query from a key."""
        count, offset = self.buckets, 0
        if self.bidirectional:
            count //= 2
            offset = xp.where(distances < 0, count, 0)
            distances = abs(distances)
        exact = count // 2
        # float32, as in T5: where a logarithm should be a whole number, its rounding decides
        ratios = xp.maximum(distances, exact).astype("float32") / exact
        large = exact + (xp.log(ratios) / log(self.max_distance / exact) * (count - exact)).astype("int64")
        # beyond max_distance, the formula would give rows that the table does not have
        large = xp.minimum(large, count - 1)
        return offset + xp.where(distances < exact, xp.maximum(distances, 0), large)


class RelativePositionType(OptionType):
    """The options of a table of relative positions."""

    rule = f"a mapping with any of {', '.join(RelativePosition.signature)}"
    takes_mapping = True

    def read(self, node: Located, name: str) -> RelativePosition:
        if not isinstance(node.value, dict):
            raise self.refuse(node, name)
        return RelativePosition.read_call(name, node, node)

    def schema(self) -> dict[str, Any]:
        properties = {name: option.type.schema() for name, option in RelativePosition.signature.items()}
        return {"type": "object", "properties": properties, "additionalProperties": False}


RelativePositionOption = Annotated[RelativePosition, RelativePositionType()]
