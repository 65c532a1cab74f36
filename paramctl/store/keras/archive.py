"""Keras' ``.keras``: a zip of metadata.json, config.json and model.weights.h5, which is read where it lies.

What is written from another ``.keras`` keeps its configuration and its other members, metadata.json among them; else
both are made of the document.

https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from shutil import copyfileobj
from typing import IO

from paramctl import __version__
from paramctl.errors import InputError, OutputError
from paramctl.model import KerasLayout, Model
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.hdf5 import format as h5
from paramctl.store.io.json_limits import parse_json
from paramctl.store.io.zips import WEIGHTS, ZIP_ERRORS, DamagedZip, data_offset, is_keras, open_zip
from paramctl.store.keras import to_config
from paramctl.store.keras.dialect import KerasDialect
from paramctl.store.keras.network import NotInKeras
from paramctl.store.keras.paths import layout
from paramctl.store.keras.weights_file import keras_model, lay_out
from paramctl.store.location import Location

__all__ = ["configuration", "lay_out", "read", "write"]

MOST_CONFIG = 12_000_000
TIMES, SPARE = 8, 1 << 20
"""How many times the size of its file what is compressed may have, and how much more."""
KERAS_VERSION = "3.15.1"
"""Whose format is written."""
ABOUT = "metadata.json"
OF_MODEL = ("config.json", WEIGHTS)
AT_ONCE = 1 << 20


def read(file: Location) -> Checkpoint:
    """What a ``.keras`` file holds. Raises InputError if it is damaged."""
    try:
        archive = open_zip(file)
        described = archive.getinfo("config.json")
        most = min(MOST_CONFIG, _most(file))
        if described.file_size > most:
            raise DamagedZip(f"its config.json has {described.file_size:,} bytes; at most {most:,} are allowed")
        config = archive.read(described).decode()
        parse_json(config)
        member = archive.getinfo(WEIGHTS)
        if member.compress_type != zipfile.ZIP_STORED:
            raise DamagedZip(f"its {WEIGHTS} is compressed, which Keras does not do")
        begin = data_offset(file, member)
    except (*ZIP_ERRORS, KeyError) as error:
        raise _damaged(file, error) from error
    made = h5.read(file, begin, member.file_size, (KerasDialect(config),))
    more = tuple(each.filename for each in archive.infolist() if not each.is_dir())
    made = replace(made, more=tuple(name for name in more if name not in (ABOUT, *OF_MODEL)))
    return replace(made, extents={})  # a zip has sums of its members, so none is changed in place


def configuration(model: Model, target: str) -> tuple[KerasLayout, str]:
    """Where Keras keeps a model's parameters, and its configuration: its own, else what its document says.

    Raises OutputError, with the name of the target, if it is no model that Keras can build.
    """
    if model.keras is not None and model.keras.config is not None:
        return model.keras, model.keras.config
    top = keras_model(model, target, as_graph=True)
    try:
        return layout(top), json.dumps(to_config.config(model, top))
    except NotInKeras as error:
        hint = "NAME.weights.h5 holds its values"
        raise OutputError(f"{target}: Keras cannot build {model.name}: {error}; {hint}") from error


def write(file: IO[bytes], weights: IO[bytes], config: str, like: Location | None) -> None:
    """Write an archive around weights; like: another, whose members other than these go along.

    Raises InputError if these are damaged, or too much.
    """
    along = _along(like) if like is not None and like.read(0, 2) == b"PK" and is_keras(like) else {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        if ABOUT not in along:
            about = json.dumps({"keras_version": KERAS_VERSION, "written_by": f"paramctl {__version__}"})
            archive.writestr(zipfile.ZipInfo(ABOUT), about)
        archive.writestr(zipfile.ZipInfo("config.json"), config)
        with archive.open(zipfile.ZipInfo(WEIGHTS), "w", force_zip64=True) as member:
            copyfileobj(weights, member, AT_ONCE)
        for name, blocks in along.items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                for block in blocks:
                    member.write(block)


def _along(like: Location) -> dict[str, Iterator[bytes]]:
    """What an archive has beside the model, by name."""
    try:
        archive = open_zip(like)
        members = [each for each in archive.infolist() if each.filename not in OF_MODEL and not each.is_dir()]
    except ZIP_ERRORS as error:
        raise _damaged(like, error) from error
    size, most = sum(each.file_size for each in members), _most(like)
    if size > most:
        raise InputError(
            f"{like.name}: its other members have {size:,} bytes together; at most {most:,} are taken along"
        )
    return {each.filename: _unpacked(like, archive, each) for each in members}


def _unpacked(like: Location, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """A member's bytes, block by block."""
    try:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DamagedZip(f"its {member.filename} is compressed, and not by deflate")
        with archive.open(member) as stream:
            while block := stream.read(AT_ONCE):
                yield block
    except ZIP_ERRORS as error:
        raise _damaged(like, error) from error


def _most(file: Location) -> int:
    """How many bytes what is compressed in an archive may have."""
    return TIMES * os.fstat(file.descriptor()).st_size + SPARE


def _damaged(file: Location, error: Exception) -> InputError:
    return InputError(f"{file.name}: this .keras file is damaged ({' '.join(str(error).split())})")
