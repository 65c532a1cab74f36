"""The tie of a language model's embeddings to its output, as the config.json beside its weights declares it.

https://huggingface.co/docs/transformers/main_classes/configuration
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from paramctl.errors import InputError
from paramctl.model import Tie
from paramctl.source.base import Source
from paramctl.store.io.json_limits import parse_json
from paramctl.store.location import Location

CONFIG = "config.json"
MAX_BYTES = 1 << 24
OUTPUTS = re.compile(
    r"(^|\.)lm_head\.weight$|^(embed_out|proj_out|cls\.predictions\.decoder|lm_head\.decoder)\.weight$"
)
INPUTS = re.compile(r"(^|\.)(embed_tokens|wte|word_embeddings|shared|embed_in|embeddings)\.weight$")
"""The names of the embeddings of tokens, and of their outputs, in the architectures of transformers."""

PARTS = re.compile(r"(^|\.)(encoder|decoder)\.")
"""The parts of a model that have embeddings of their own beside shared ones; OPT has those of its decoder alone."""


def declared_pairs(source: Source) -> Iterator[tuple[Tie, str]]:
    """Yield the tie that a config.json beside the weights declares, if both arrays exist, and the file's name."""
    paths = source.model.parameters
    outputs = [path for path in paths if OUTPUTS.search(path)]
    inputs = [path for path in paths if INPUTS.search(path)]
    inputs = [path for path in inputs if not PARTS.search(path)] or inputs
    location = source.origin.location
    if location is None or len(outputs) != 1 or len(inputs) != 1:
        return
    config = _config(location)
    inner = config.get("text_config")
    declared = config.get("tie_word_embeddings", inner.get("tie_word_embeddings") if isinstance(inner, dict) else None)
    if declared is True:
        yield Tie(inputs[0], outputs[0]), CONFIG


def _config(location: Location) -> dict[str, Any]:
    """Return the configuration in the folder of a file; empty if none can be read."""
    try:
        config = location.sibling(CONFIG)
        data = config.read(0, MAX_BYTES + 1)
        parsed = parse_json(data.decode()) if len(data) <= MAX_BYTES else None
    except (InputError, OSError, ValueError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
