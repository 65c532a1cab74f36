"""Keras' ``.keras``: a zip of config.json, metadata.json and model.weights.h5, which is read where it lies.

https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py
"""

from __future__ import annotations

import json
import struct
import zipfile
from dataclasses import replace

from paramctl.errors import InputError
from paramctl.store import h5
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.files import Bytes
from paramctl.store.npz import WEIGHTS, data_offset

MOST_CONFIG = 100_000_000
DAMAGED = (zipfile.BadZipFile, ValueError, EOFError, RuntimeError, OSError, KeyError, struct.error)


def read(file: Bytes) -> Checkpoint:
    """What a ``.keras`` file holds. Raises InputError if it is damaged."""
    try:
        archive = zipfile.ZipFile(open(file.descriptor(), "rb", closefd=False))  # noqa: SIM115
        described = archive.getinfo("config.json")
        if described.file_size > MOST_CONFIG:
            raise InputError(f"{file.name}: its config.json has more than {MOST_CONFIG:,} bytes")
        config = json.loads(archive.read(described))
        member = archive.getinfo(WEIGHTS)
        if member.compress_type != zipfile.ZIP_STORED:
            raise InputError(f"{file.name}: its {WEIGHTS} is compressed, which Keras does not do")
        begin = data_offset(file, member)
    except InputError:
        raise
    except (
        zipfile.BadZipFile,
        ValueError,
        EOFError,
        RuntimeError,
        OSError,
        KeyError,
        struct.error,
        RecursionError,
    ) as error:
        raise InputError(f"{file.name}: this .keras file is damaged ({' '.join(str(error).split())})") from error
    made = h5.read(file, begin, member.file_size, config)
    return replace(made, extents={})  # a zip has sums of its members, so none is changed in place
