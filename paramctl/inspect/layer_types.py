"""The types of the layers of a checkpoint without a model, by the names and shapes of their arrays.

A type is stated only if the arrays, or a name that is used for nothing else, leave no doubt. Other layers are "group".

    multi_head_attention   in_proj_weight, or q_, k_ and v_proj_weight, with a group out_proj; in Keras a layer of this
                           name with the groups query, key, value and attention_output
    lstm, gru, simple_rnn  weight_ih_l0 and weight_hh_l0 of 4, 3 or 1 gates; in Keras a layer of this name with kernel
                           and recurrent_kernel, also of its cell
    batch_normalization    running_mean and running_var, or moving_mean and moving_variance, of equal sizes, if the name
                           is not that of an instance normalization, which has the same arrays if it keeps averages
    layer_normalization    weight and bias, or gamma and beta, vectors of equal size, in a group that has this name or a
                           short form (ln, layernorm) and is beside no convolution; in torch's transformer layers.
                           A group normalization has the same arrays, so norm1 alone says nothing
    rms_normalization      a vector weight in a group that has this name (rms_norm); in T5's layer_norm; and in each
                           group named norm, if the file has Llama's input_layernorm beside post_attention_layernorm,
                           and no norm with a bias. A layer normalization without a bias has the same array
    dense                  a matrix with a bias of its outputs, or a matrix kernel; a matrix weight alone only under a
                           name of linear layers, such as q_proj or lm_head: an embedding has the same array. A router
                           of experts is a group: its bias may not be that of its outputs
    embedding              a matrix under a name of embeddings, such as embed_tokens or wte; Keras' embeddings
    conv1d, 2d, 3d         by the rank, if the size of a bias or of the batch normalization that follows in a sequence
                           tells it from a transposed convolution, or else by a name: conv1, convolution
    conv*_transpose        by these sizes
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from itertools import pairwise
from typing import NamedTuple

from paramctl.model import Block

Shapes = Mapping[str, tuple[int, ...]]

# texts, which re compiles when a checkpoint first needs them: a model document needs none
_LAYER_NORM = r"(^|_)(ln|layer_?norm(alization)?)(_|[0-9]|$)"
_RMS_NORM = r"(^|_)rms_?norm(alization)?(_|[0-9]|$)"
_LINEAR = r"(_proj|(^|_)(lm_head|linear|dense|fc)[0-9]*|^attn_(q|k|v|qkv|output)|^ffn_(gate|up|down))$"
_EMBEDDING = r"^(wte|wpe|embed_tokens|(word|position|token_type)_embeddings|tok_embeddings|token_embd)$"
_CONV = r"conv(olution)?([0-9]*d?)?(_|[0-9]|$)"
_NOT_CONV = r"trans|deconv|(^|_)[dt]_?conv|up|conv_?t(_|[0-9]|$)|tconv|depthwise|dw|separable|inverse|backward|bilinear"
_INSTANCE_NORM = r"inst|^(i_?norm|in)[0-9]*$"
_ROUTER = r"(^|_)router(_|$)"
_TRANSFORMERS_CONV1D = r"^(c_attn|c_proj|c_fc|q_attn)$"
_HUMP = r"(?<=[a-z])(?=[A-Z])"
_LLAMA = ("input_layernorm", "post_attention_layernorm")
_GATES = {4: "lstm", 3: "gru", 1: "simple_rnn"}


NAME = 60
"""The characters at the end of a path that are searched for a name."""


class _Level(NamedTuple):
    """The groups beside each other.

    names: of all of them. has_kernels: True if one has an array of three axes or more.
    following: the next group by the number that is its name, for each such name.
    """

    names: Set[str]
    has_kernels: bool
    following: Mapping[str, Block]


class LayerTypes:
    """The types of the groups of a checkpoint, each by its arrays and by the groups around it."""

    def __init__(self, roots: Sequence[Block], separator: str) -> None:
        self.separator = separator
        self._siblings: dict[int, Sequence[Block]] = {}
        self._levels: dict[int, _Level] = {}
        self._like_llama = is_biased = False
        stack: list[Sequence[Block]] = [roots]
        while stack:
            blocks = stack.pop()
            self._siblings.update(dict.fromkeys(map(id, blocks), blocks))
            stack += [block.blocks for block in blocks if block.blocks]
            norms = {self._name(block): {*_shapes(block)} for block in blocks if "norm" in block.path[-NAME:].lower()}
            is_biased |= any("bias" in names for names in norms.values())
            self._like_llama |= all(norms.get(name) == {"weight"} for name in _LLAMA)
        self._like_llama &= not is_biased

    def _level(self, block: Block) -> _Level:
        """Return the groups around a block, with itself."""
        siblings = self._siblings[id(block)]
        if id(siblings) not in self._levels:
            names = {self._name(each): each for each in siblings if each.type == "group"}
            numbers = sorted((name for name in names if name.isdecimal() and len(name) < 10), key=int)
            following = {name: names[later] for name, later in pairwise(numbers)}
            has_kernels = any(len(held.axes) > 2 for each in names.values() for held in each.parameters)
            self._levels[id(siblings)] = _Level(names.keys(), has_kernels, following)
        return self._levels[id(siblings)]

    def of(self, block: Block) -> str:
        """Return the type of a block: its own, or for a group that of its arrays if it is certain."""
        if block.type != "group":
            return block.type
        shapes, name = _shapes(block), self._name(block)
        if name.endswith("cell"):
            return "group"  # a part of a recurrent layer
        if block.blocks:
            # only a layer of this many parts has a type, and most blocks have no arrays
            few = block.blocks if len(block.blocks) in (1, 4) else ()
            return _of_parts(name, shapes, {self._name(each): _shapes(each) for each in few}) or "group"
        if self._like_llama and "norm" in name and shapes.keys() == {"weight"} and len(shapes["weight"]) == 1:
            return "rms_normalization"
        level = self._level(block)
        for rule in _RULES:
            if found := rule(name, shapes, level):
                return found
        following = level.following.get(name)
        normalized = _shapes(following).get("running_mean") if following is not None else None
        return _convolution(name, shapes, normalized) or "group"

    def _name(self, block: Block) -> str:
        """Return the last name of a block in snake_case: layer_norm for LayerNorm."""
        name = block.path.rpartition(self.separator)[2]
        lower = name.lower()
        return lower if lower == name else re.sub(_HUMP, "_", name).lower()


def _shapes(block: Block) -> Shapes:
    start = len(block.path) + 1
    return {each.path[start:]: each.shape for each in block.parameters}


def _weight(shapes: Shapes) -> tuple[int, ...] | None:
    """Return the shape of weight or kernel if only a bias is beside it."""
    for name in ("weight", "kernel"):
        if name in shapes and shapes.keys() <= {name, "bias"}:
            return shapes[name]
    return None


def _of_parts(name: str, shapes: Shapes, parts: Mapping[str, Shapes]) -> str | None:
    """Return the type of a group that has groups inside."""
    if shapes:
        projections = {f"{each}_proj_weight" for each in "qkv"}
        arrays = {"in_proj_weight", "in_proj_bias", "bias_k", "bias_v", *projections}
        is_torch = parts.keys() == {"out_proj"} and shapes.keys() <= arrays
        is_packed = len(shapes.get("in_proj_weight", ())) == 2
        return "multi_head_attention" if is_torch and (is_packed or projections <= shapes.keys()) else None
    if parts.keys() == {"query", "key", "value", "attention_output"}:
        return "multi_head_attention" if _keras_name(name) == "multi_head_attention" else None
    return _keras_recurrent(name, next(iter(parts.values()))) if len(parts) == 1 else None


def _keras_name(name: str) -> str:
    """Return a name without the number that Keras adds: lstm for lstm_1."""
    return re.sub("_[0-9]+$", "", name)


def _keras_recurrent(name: str, cell: Shapes) -> str | None:
    """Return the type of a recurrent layer of Keras, by its name and the gates of its cell."""
    if not {"kernel", "recurrent_kernel"} <= cell.keys() <= {"kernel", "recurrent_kernel", "bias"}:
        return None
    units, columns = _matrix(cell["recurrent_kernel"])
    if not units or columns % units or _matrix(cell["kernel"])[1] != columns:
        return None
    found = _GATES.get(columns // units)
    return found if found == _keras_name(name) else None


def _recurrent(name: str, shapes: Shapes, level: _Level) -> str | None:
    """Return the type of a recurrent layer, by the number of its gates."""
    if not {"weight_ih_l0", "weight_hh_l0"} <= shapes.keys():
        return _keras_recurrent(name, shapes)
    if not all(re.fullmatch(r"(weight|bias)_(ih|hh|hr)_l[0-9]+(_reverse)?", each) for each in shapes):
        return None
    (rows, columns), projection = _matrix(shapes["weight_hh_l0"]), shapes.get("weight_hr_l0")
    units = projection[-1] if projection else columns
    return _GATES.get(rows // units) if units and not rows % units else None


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[0], shape[1]) if len(shape) == 2 else (0, 0)


def _normalization(name: str, shapes: Shapes, level: _Level) -> str | None:
    sizes = {shape for each, shape in shapes.items() if each != "num_batches_tracked"}
    if len(sizes) != 1 or len(next(iter(sizes))) != 1:
        return None
    names = shapes.keys() - {"num_batches_tracked"}
    for scale, offset, mean, variance in (
        ("weight", "bias", "running_mean", "running_var"),
        ("gamma", "beta", "moving_mean", "moving_variance"),
    ):
        if {mean, variance} <= names <= {scale, offset, mean, variance}:
            return None if re.search(_INSTANCE_NORM, name) else "batch_normalization"
        is_keras = names == {"gamma", "beta"} and _keras_name(name) == "layer_normalization"
        if names == {scale, offset} and (is_keras or _is_layer_norm(name, level)):
            return "layer_normalization"
    return "rms_normalization" if names <= {"weight", "scale"} and _is_rms_norm(name, level) else None


def _is_layer_norm(name: str, level: _Level) -> bool:
    if level.has_kernels:
        return False  # some give this name to a normalization of groups, beside a convolution
    # torch.nn.TransformerEncoderLayer and TransformerDecoderLayer
    is_torch = level.names >= {"linear1", "linear2", "norm1", "norm2", "self_attn"}
    return bool(re.search(_LAYER_NORM, name)) or (is_torch and re.fullmatch("norm[123]", name) is not None)


def _is_rms_norm(name: str, level: _Level) -> bool:
    is_t5 = name == "layer_norm" and not {"self_attention", "dense_relu_dense"}.isdisjoint(level.names)
    return is_t5 or bool(re.search(_RMS_NORM, name))


def _matrices(name: str, shapes: Shapes, level: _Level) -> str | None:
    """Return the type of a layer with one matrix."""
    if shapes.keys() == {"embeddings"}:
        return "embedding" if len(shapes["embeddings"]) == 2 else None
    weight, bias = _weight(shapes), shapes.get("bias")
    if weight is None or len(weight) != 2 or "einsum" in name or re.search(_ROUTER, name):
        return None
    if bias is None:
        if "kernel" in shapes:
            return "dense"
        return "embedding" if re.match(_EMBEDDING, name) else "dense" if re.search(_LINEAR, name) else None
    outputs = weight[1] if "kernel" in shapes or re.match(_TRANSFORMERS_CONV1D, name) else weight[0]
    return "dense" if bias == (outputs,) else None


_Rule = Callable[[str, Shapes, _Level], str | None]
_RULES: Collection[_Rule] = (_recurrent, _normalization, _matrices)


def _convolution(name: str, shapes: Shapes, following: tuple[int, ...] | None) -> str | None:
    """Return the type of a convolution. following: the shape of the batch normalization that follows it."""
    weight, bias = _weight(shapes) or (), shapes.get("bias")
    if not 3 <= len(weight) <= 5:
        return None
    kind = f"conv{len(weight) - 2}d"
    is_named = bool(re.search(_CONV, name)) and not re.search(_NOT_CONV, name)
    if "kernel" in shapes:  # transposed kernels of Flax have the axes of others
        if _keras_name(name) == f"{kind}_transpose":
            return f"{kind}_transpose"
        is_depthwise = weight[-1] == 1 != weight[-2]
        return kind if is_named and not is_depthwise and bias in (None, weight[-1:]) else None
    size = following if bias is None else bias
    # the kernels of channels that are convolved apart have no order of axes, and a bilinear layer has three axes too
    if size is None or weight[1] in (1, weight[0]) or len(weight) == 3:
        return kind if is_named and size in (None, weight[:1]) else None
    return {weight[:1]: kind, weight[1:2]: f"{kind}_transpose"}.get(size)
