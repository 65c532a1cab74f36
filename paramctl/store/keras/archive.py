"""Keras' ``.keras``: a zip of metadata.json, config.json and model.weights.h5, which is read where it lies.

What is written from another ``.keras`` keeps its configuration and its other members; else it is made of the document.

https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from shutil import copyfileobj
from typing import IO

from paramctl import __version__
from paramctl.errors import InputError, OutputError
from paramctl.model import KerasLayout, Model
from paramctl.store import h5
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.files import Bytes
from paramctl.store.keras import to_config
from paramctl.store.keras.file import keras_model, lay_out
from paramctl.store.keras.network import NotInKeras
from paramctl.store.keras.weights import layout
from paramctl.store.zips import DAMAGED, WEIGHTS, Damaged, data_offset, is_keras, opened

__all__ = ["configuration", "lay_out", "read", "write"]

MOST_CONFIG = 100_000_000
KERAS_VERSION = "3.15.1"
"""Whose format is written."""
OF_MODEL = ("metadata.json", "config.json", WEIGHTS)
AT_ONCE = 1 << 20


def read(file: Bytes) -> Checkpoint:
    """What a ``.keras`` file holds. Raises InputError if it is damaged."""
    try:
        archive = opened(file)
        described = archive.getinfo("config.json")
        if described.file_size > MOST_CONFIG:
            raise Damaged(f"its config.json has more than {MOST_CONFIG:,} bytes")
        config = archive.read(described).decode()
        json.loads(config)
        member = archive.getinfo(WEIGHTS)
        if member.compress_type != zipfile.ZIP_STORED:
            raise Damaged(f"its {WEIGHTS} is compressed, which Keras does not do")
        begin = data_offset(file, member)
    except (*DAMAGED, KeyError, RecursionError) as error:
        raise InputError(f"{file.name}: this .keras file is damaged ({' '.join(str(error).split())})") from error
    made = h5.read(file, begin, member.file_size, config)
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


def write(file: IO[bytes], weights: IO[bytes], config: str, like: Bytes | None) -> None:
    """Write an archive around weights; like: another, whose members other than these go along."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        about = json.dumps({"keras_version": KERAS_VERSION, "written_by": f"paramctl {__version__}"})
        for name, text in (("metadata.json", about), ("config.json", config)):
            archive.writestr(zipfile.ZipInfo(name), text)
        with archive.open(zipfile.ZipInfo(WEIGHTS), "w", force_zip64=True) as member:
            copyfileobj(weights, member, AT_ONCE)
        if like is not None and like.read(0, 2) == b"PK" and is_keras(like):
            with zipfile.ZipFile(open(like.descriptor(), "rb", closefd=False)) as other:
                for each in other.infolist():
                    if each.filename not in OF_MODEL and not each.is_dir():
                        with other.open(each) as old, archive.open(zipfile.ZipInfo(each.filename), "w") as new:
                            copyfileobj(old, new, AT_ONCE)
