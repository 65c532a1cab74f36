"""paramctl save: a model, or any checkpoint, into a file."""

from __future__ import annotations

import click

from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.init import tell, to_file, to_pipe


@click.command(cls=Command)
@options.source
@options.output(
    "Where to write: the suffix says the format, .h5, .safetensors or .npz; FOLDER/ holds safetensors, and '-' streams"
    " them.",
    required=True,
)
@click.option(
    "--max-shard-size",
    type=options.Size(),
    metavar="N[MB|GB]",
    help="Cut safetensors into files of at most this size, with an index. [default: one file; in a folder, 5GB]",
)
@options.rename
@options.seed
@options.dtype
@options.force
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@options.define
@options.input_shape
def save(
    source: str | None,
    output: str,
    max_shard_size: int | None,
    rename: tuple[str, ...],
    seed: int | None,
    dtype: str | None,
    force: bool,
    quiet: bool,
    define: tuple[str, ...],
    input_shape: tuple[str, ...],
) -> None:
    """Write a model, drawn by its own initializers, or a checkpoint as it is, to a file.

    The file is complete or not there: whatever happens, what was at its name before is there until the new one
    is on the disk. A native file (.h5) has a group for each block and a dataset for each parameter; ties are hard
    links, and the model document goes with it, so that paramctl summary shows the same tree.

    \b
    paramctl save mlp.yaml -o mlp.h5
    paramctl save weights.safetensors -o weights.h5 --dtype bfloat16
    paramctl save mlp.yaml -o - | paramctl dump - dense/bias
    """
    if output != "-":
        options.warm_up(output)
    made = options.as_drawn(options.opened(source, define, input_shape), seed, dtype)
    if rename:
        from paramctl.edit.rename import renamed

        made = renamed(made, rename)
    if output == "-":
        options.refuse_terminal("safetensors")
        to_pipe(made)
        return
    to_file(made, output, force, most=max_shard_size)
    if not quiet:
        tell(made, output)
