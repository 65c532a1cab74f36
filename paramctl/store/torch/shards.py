"""A set of files of torch.save and its index, ``pytorch_model.bin.index.json``, which names the file of each array.

https://huggingface.co/docs/transformers/big_models
"""

from __future__ import annotations

from pathlib import PurePath

from paramctl.model import Tie
from paramctl.store.checkpoint import Checkpoint, build_model, tied_parameter
from paramctl.store.contents import JoinedReader, Origin, Reader
from paramctl.store.io.shard_index import check_complete, check_listed, open_shard, read_index
from paramctl.store.location import Location
from paramctl.store.torch import SHARDS_NAME
from paramctl.store.torch.placing import reader_of
from paramctl.store.torch.reading import parameter_of, read_arrays, ties_of
from paramctl.store.torch.tensors import Tensor


def read(location: Location) -> Checkpoint:
    """Read the pickles of all files of an index. Raises InputError unless they have exactly the listed arrays."""
    index = read_index(location)
    tensors: dict[str, Tensor] = {}
    readers: dict[str, Reader] = {}
    skipped: dict[str, str] = {}
    ties: tuple[Tie, ...] = ()
    archives: list[Location] = []
    metadata = {key: value for key, value in index.metadata.items() if isinstance(value, (str, int, float))}
    for name in index.files:
        shard = open_shard(location, name)
        arrays, file = read_arrays(shard)
        archives.append(shard)
        # the index lists the parameters, whatever they are called
        listed = arrays.parameters | arrays.state
        check_listed(listed, name, index, location)
        tensors |= listed
        # a tie joins arrays of one file: places in two files are not comparable
        ties += ties_of((path, listed[path]) for path in index.weight_map if path in listed)
        readers |= dict.fromkeys(listed, reader_of(listed, file))
        skipped |= arrays.skipped
        metadata |= arrays.metadata
    check_complete(tensors, index, location)
    ordered = {path: tensors[path] for path in index.weight_map}
    parameters = {path: parameter_of(path, tensor) for path, tensor in ordered.items()}
    for tie in ties:
        parameters[tie.tied] = tied_parameter(tie, parameters[tie.kept])
    stem = PurePath(location.name).name.removesuffix(".index.json").removesuffix(".bin")
    model, _ = build_model(stem, parameters, ties)
    origin = Origin(location, SHARDS_NAME, skipped=skipped, metadata=metadata, archives=tuple(archives))
    return Checkpoint(model, JoinedReader(readers), origin)
