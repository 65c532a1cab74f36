"""The names that other frameworks give to layers and activation functions, for hints about unknown types."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from paramctl.errors import suggest

_RANKED = {
    "conv": "conv{}d",
    "convtranspose": "conv{}d_transpose",
    "lazyconv": "conv{}d",
    "lazyconvtranspose": "conv{}d_transpose",
    "batchnorm": "batch_normalization",
    "lazybatchnorm": "batch_normalization",
    "maxpool": "max_pooling{}d",
    "avgpool": "average_pooling{}d",
    "adaptivemaxpool": "adaptive_max_pooling{}d",
    "adaptiveavgpool": "adaptive_average_pooling{}d",
    "globalmaxpool": "global_max_pooling{}d",
    "globalavgpool": "global_average_pooling{}d",
    "dropout": "spatial_dropout{}d",
    "zeropad": "zero_padding{}d",
    "upsample": "up_sampling{}d",
}
"""Types with 1, 2 or 3 spatial axes. A name without its number has 2."""

_PLAIN = {
    "linear": "dense",
    "lazylinear": "dense",
    "fullyconnected": "dense",
    "fc": "dense",
    "embed": "embedding",
    "syncbatchnorm": "batch_normalization",
    "layernorm": "layer_normalization",
    "groupnorm": "group_normalization",
    "rmsnorm": "rms_normalization",
    "l2normalize": "unit_normalization",
    "layerscale": "scale",
    "rnn": "simple_rnn",
    "rnncell": "simple_rnn",
    "lstmcell": "lstm",
    "grucell": "gru",
    "multiheadattention": "multi_head_attention",
    "multiheaddotproductattention": "multi_head_attention",
    "selfattention": "multi_head_attention",
    "featurealphadropout": "alpha_dropout",
    "unflatten": "reshape",
    "view": "reshape",
    "cat": "concatenate",
    "concat": "concatenate",
    "transpose": "permute",
    "logsigmoid": "log_sigmoid",
    "hardswish": "hard_swish",
    "quickgelu": "gelu",
    "geluapproximate": "gelu",
}


def type_hint(name: str, layers: Iterable[str], functions: Iterable[str] = ()) -> str:
    """Return a hint with the type that a name most likely means, or an empty string.

    A layer of the same name with other capitals or underscores comes first, then the layer that has the name in another
    framework, then a function of the same name, and then the most similar name.
    """
    layers, functions = [*layers], [*functions]
    for known, key in ((layers, _plain(name)), (layers, _plain(_elsewhere(name))), (functions, _plain(name))):
        if meant := {_plain(each): each for each in known}.get(key):
            return f"Did you mean {meant!r}?"
    return suggest(name, [*layers, *functions])


def layer_elsewhere(name: str, layers: Collection[str]) -> str:
    """Return the layer that has a name in another framework, or an empty string, also for a name of one of ours."""
    meant = _elsewhere(name)
    return meant if meant in layers and _plain(name) not in map(_plain, layers) else ""


def _elsewhere(name: str) -> str:
    """Return the type that has a name in another framework, or an empty string."""
    key = _plain(name)
    if key in _PLAIN:
        return _PLAIN[key]
    stem, rank = (match[1], match[2]) if (match := re.fullmatch(r"(.*?)([123])d", key)) else (key, "2")
    return _RANKED[stem].format(rank) if stem in _RANKED else ""


def _plain(name: str) -> str:
    """Return a name without its package, capitals and underscores: ``relu`` for nn.ReLU and re_lu."""
    return re.sub(r"[\W_]", "", name.rpartition(".")[2].lower())
