"""torch's files as formats: one file of torch.save or of TorchScript, or another pickle; and a set with an index.

https://pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from paramctl.store.format import Format
from paramctl.store.location import Location
from paramctl.store.npz.format import ZIP_SIGNATURES
from paramctl.store.safetensors import TOTAL, has_header
from paramctl.store.torch import NAME, SHARDS_NAME

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint

PICKLE = re.compile(rb"\x80[\x02-\x05]")
LOCAL_HEADER = 30
"""Bytes of the header of a zip's member before its name."""
SUFFIXES = (".pt", ".pth", ".pth.tar", ".bin", ".ckpt", ".pkl", ".pickle")
INDEX = ".bin.index.json"
INDEX_START = 1 << 20
INDEX_OF_PICKLES = re.compile(rb'"weight_map"\s*:\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*"[^"]*\.(bin|pt|pth)"')
MODEL = "pytorch_model.bin"
NO_MODEL = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state.*|random_states.*)\.(bin|pt|pth|pkl)")
"""Files beside a model that keep the state of its training."""


class Torch(Format):
    """A file of torch.save or of TorchScript, or a plain pickle of arrays. It is only read."""

    name = NAME
    read_suffixes = SUFFIXES

    def matches(self, location: Location) -> bool:
        if PICKLE.match(location.read(0, 2)):
            return not has_header(location)  # the length of a header may be 0x280, whose bytes begin like a pickle
        if location.read(0, 4) not in ZIP_SIGNATURES:
            return False
        header = location.read(0, LOCAL_HEADER)
        name = location.read(LOCAL_HEADER, int.from_bytes(header[26:28], "little"))
        if name.endswith(b"data.pkl"):
            return True
        # the members of torch's archives are in a folder, which no npz and no .keras begins with
        if b"/" not in name or name.endswith(b".npy"):
            return False
        from paramctl.store.io.zips import member_names  # zipfile is slow to import

        return any(path.endswith("/data.pkl") for path in member_names(location))

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.torch import reading

        return reading.read(location)

    def opens_folder(self, names: Sequence[str]) -> str | None:
        if MODEL in names:
            return MODEL
        files = [name for name in names if name.lower().endswith(SUFFIXES) and not NO_MODEL.fullmatch(name)]
        return files[0] if len(files) == 1 else None


class TorchShards(Format):
    """A set of files, and ``pytorch_model.bin.index.json``, which names the file of each array."""

    name = SHARDS_NAME
    read_suffixes = (INDEX,)
    file_keys = frozenset({TOTAL})

    def matches(self, location: Location) -> bool:
        return location.read(0, 1) == b"{" and INDEX_OF_PICKLES.search(location.read(0, INDEX_START)) is not None

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.torch import shards

        return shards.read(location)

    def opens_folder(self, names: Sequence[str]) -> str | None:
        indexes = [name for name in names if name.endswith(INDEX)]
        return indexes[0] if len(indexes) == 1 else None
