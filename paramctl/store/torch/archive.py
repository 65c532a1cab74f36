"""The zip archives that torch.save writes since torch 1.6, and those of TorchScript.

The member ``data.pkl`` is a pickle, and ``data/KEY`` has the bytes of a storage. Other programs may have compressed the
members when they packed the archive again.
https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
"""

from __future__ import annotations

import zipfile
from functools import partial
from typing import Any

from paramctl.store.io.zips import DamagedZip, check_members, data_offset, open_zip
from paramctl.store.location import Location, in_memory
from paramctl.store.pickles.machine import unpickle_from
from paramctl.store.pickles.state import MAX_BYTES, BadPickle
from paramctl.store.torch.storages import Storage, storage_of

PICKLE = "data.pkl"
MAX_CODE = 1 << 24
"""Bytes of the code of TorchScript in one member."""


class Archive:
    """An open archive.

    prefix: of the names of its members, "archive/". storages: those that the pickle names, by key.
    """

    def __init__(self, file: Location) -> None:
        """Open an archive. Raises one of ZIP_ERRORS if it is damaged."""
        self.file, self.zip = file, open_zip(file)
        members = self.zip.infolist()
        check_members(members, "torch uses none, other programs deflate")
        self.members = {member.filename: member for member in members}
        if len(self.members) < len(members):
            raise DamagedZip("two members have the same name")
        pickles = [name for name in self.members if name == PICKLE or name.endswith(f"/{PICKLE}")]
        if not pickles:
            raise DamagedZip("a zip archive without the data.pkl of torch.save")
        # zipfile finds the last of several archives alone, such as those of each tensor in a .distcp
        if min(member.header_offset for member in members):
            raise DamagedZip("several archives in one file. Of a distributed checkpoint, open the folder")
        # a file of a dataset may have the same name in a folder of the archive
        self.prefix = min(pickles, key=len).removesuffix(PICKLE)
        self.storages: dict[str, Storage] = {}
        self.codes: dict[str, str] = {}
        order = f"{self.prefix}byteorder"
        if order in self.members and self.bytes_of(order) != b"little":
            raise DamagedZip(f"unsupported byte order {self.bytes_of(order)[:20].decode(errors='replace')}")

    def root(self) -> tuple[Any, Location]:
        """Return the value of the pickle, and the file of its long strings. Raises BadPickle."""
        member = self.members[f"{self.prefix}{PICKLE}"]
        if member.compress_type == zipfile.ZIP_STORED:
            begin = data_offset(self.file, member)
            return unpickle_from(self.file, begin, begin + member.file_size, self.load)[0], self.file
        if member.file_size > MAX_BYTES:
            raise BadPickle(f"a compressed pickle has more than {MAX_BYTES:,} bytes")
        inflated = in_memory(self.bytes_of(member.filename), self.file.name)
        return unpickle_from(inflated, 0, member.file_size, self.load)[0], inflated

    def load(self, pid: Any) -> Storage:
        """Return the storage of a persistent id, with its place. Raises BadPickle."""
        storage = storage_of(pid)
        storage.file = self.file
        known = self.storages.get(storage.key)
        # one storage may have tensors of several dtypes, which give it several sizes
        if known is not None and (known.dtype, known.size) == (storage.dtype, storage.size):
            return known
        self.storages[storage.key] = storage
        name = f"{self.prefix}data/{storage.key}"
        member = self.members.get(name)
        if member is None:
            if storage.on_meta:
                return storage
            raise BadPickle(f"the archive lacks the member {name!r}")
        if member.file_size < storage.size:
            raise BadPickle(f"{name!r} has {member.file_size:,} bytes, but its tensors need {storage.size:,}")
        if member.compress_type == zipfile.ZIP_STORED:
            storage.begin = data_offset(self.file, member)
        else:
            storage.inflate = partial(self.zip.open, member)
        return storage

    def bytes_of(self, name: str) -> bytes:
        """Return a small member."""
        member = self.members[name]
        if member.compress_type == zipfile.ZIP_STORED:  # by its offset: torch may have left out the checksums
            return self.file.read(data_offset(self.file, member), member.file_size)
        return self.zip.read(member)

    def code_of(self, name: str) -> str:
        """Return the code of a class of TorchScript; empty if the archive lacks it."""
        path = name.rpartition(".")[0].replace(".", "/")
        member = f"{self.prefix}code/{path}.py"
        if member not in self.members or self.members[member].file_size > MAX_CODE:
            return ""
        if member not in self.codes:
            self.codes[member] = self.bytes_of(member).decode(errors="replace")
        _, _, code = self.codes[member].partition(f"class {name.rpartition('.')[2]}(")
        return code.partition("\nclass ")[0]
