"""Distributed checkpoints of torch. The files of a fixture are torch's own; its index can be written again."""

import pickle
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from tests.conftest import ROOT

FIXTURE = ROOT / "tests/fixtures/torch_distributed"
"""Saved by two processes: row, col (7, 6) in two parts each, rep, plain, the state of an optimizer, and a step."""
METADATA = "torch.distributed.checkpoint.metadata"
CLASSES = {
    METADATA: ("Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata", "MetadataIndex"),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch": ("float32", "complex32"),
}


def _modules() -> dict[str, ModuleType]:
    """Return modules with classes of torch's names, which pickle finds when it writes them."""
    modules: dict[str, ModuleType] = {}
    for name, classes in CLASSES.items():
        parts = name.split(".")
        for number in range(1, len(parts) + 1):
            modules.setdefault(".".join(parts[:number]), ModuleType(".".join(parts[:number])))
        for class_ in classes:
            setattr(modules[name], class_, type(class_, (), {"__module__": name}))
    return modules


class Index:
    """An index to write.

    tensors: (dtype, shape, parts) by name, of parts (offsets, sizes, file, offset, length); None for another object.
    """

    def __init__(self) -> None:
        self.modules = _modules()
        self.tensors: dict[str, Any] = {}
        self.places: dict[Any, Any] = {}

    def add(self, name: str, shape: Any, parts: list[tuple[Any, ...]], dtype: str = "float32") -> None:
        chunks = [self._object("ChunkStorageMetadata", offsets=part[0], sizes=part[1]) for part in parts]
        properties = self._object("TensorStorageMetadata", dtype=getattr(self.modules["torch"], dtype))
        self.tensors[name] = self._object("TensorStorageMetadata", properties=properties, size=shape, chunks=chunks)
        for offsets, _, file, offset, length, *more in parts:
            self.place(name, offsets, file, offset, length, *more)

    def place(self, name: str, offsets: Any, file: Any, offset: Any, length: Any, transforms: Any = None) -> None:
        index = self._object("MetadataIndex", fqn=name, offset=offsets, index=None)
        place = {"relative_path": file, "offset": offset, "length": length, "transform_descriptors": transforms}
        self.places[index] = self._object("_StorageInfo", **place)

    def write(self, folder: Path, **replaced: Any) -> Path:
        attributes = {"state_dict_metadata": self.tensors, "planner_data": None, "storage_data": self.places}
        metadata = self._object("Metadata", **(attributes | replaced))
        with mock.patch.dict(sys.modules, self.modules):
            (folder / ".metadata").write_bytes(pickle.dumps(metadata))
        return folder / ".metadata"

    def _object(self, name: str, **attributes: Any) -> Any:
        module = next(module for module, names in CLASSES.items() if name in names)
        instance = getattr(self.modules[module], name)()
        instance.__dict__.update(attributes)
        return instance


def sample(folder: Path) -> Path:
    shutil.copytree(FIXTURE, folder, dirs_exist_ok=True)
    return folder / ".metadata"
