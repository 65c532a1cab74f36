"""The cache of headers: each is parsed once while its file is open, and again after a change."""

import os
from pathlib import Path

import pytest

from paramctl.store.hdf5 import listing
from paramctl.store.location import open_location
from paramctl.store.registry import for_writing
from paramctl.store.safetensors import header
from tests.conftest import ROOT, Run

PARSERS = {"h5": (listing, "parse_file"), "safetensors": (header, "_parse_header")}


class Parsed(Exception):
    """A header was parsed."""


def parse(*_: object) -> None:
    raise Parsed


@pytest.mark.parametrize("kind", PARSERS)
def test_a_header_is_parsed_once(kind: str, paramctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, (module, name), format_ = tmp_path / f"mlp.{kind}", PARSERS[kind], for_writing(f"mlp.{kind}")
    assert paramctl("init", str(ROOT / "sample_models/mlp.yaml"), "-o", str(path)).returncode == 0
    arrays = format_.stored_arrays(open_location(str(path)))
    assert arrays
    file = open_location(str(path))
    format_.read(file)
    monkeypatch.setattr(module, name, parse)
    assert format_.stored_arrays(file) == arrays, "from the header that was read"
    with pytest.raises(Parsed):
        format_.stored_arrays(open_location(str(path)))  # another file, for all that is known
    os.utime(path, (0, 0))
    with pytest.raises(Parsed):
        format_.stored_arrays(file)  # it may have changed
    descriptor = file.descriptor()
    del file
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)  # the cache keeps no file open
