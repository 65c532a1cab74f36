"""paramctl tie: parameters that share one array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from paramctl.cli import options
from paramctl.cli.command import Command
from paramctl.cli.init import tell, to_file, to_pipe
from paramctl.cli.render import emit

if TYPE_CHECKING:
    from paramctl.model import Model, Tie
    from paramctl.source.open import Opened


@click.command(cls=Command)
@options.source
@click.argument("keep", shell_complete=options.complete_address, help="The parameter whose values win.")
@click.argument(
    "others",
    metavar="OTHER...",
    nargs=-1,
    required=True,
    shell_complete=options.complete_address,
    help="What shall share its array.",
)
@click.option("--transpose", is_flag=True, help="The others are the transpose of what is kept.")
@options.output("Where to write.")
@options.in_place
@options.force
def tie(
    source: str | None,
    keep: str,
    others: tuple[str, ...],
    transpose: bool,
    output: str | None,
    in_place: bool,
    force: bool,
) -> None:
    """Make parameters share one array, in a model document or in a checkpoint; the values of KEEP win.

    In a document a line is put in, and everything else stays as it is written. In a checkpoint the array of the others
    goes, and its space with it: HDF5 has a hard link instead, and the file's own metadata lists what is transposed.

    \b
    paramctl tie mlp.yaml a/kernel b/kernel --in-place
    paramctl tie gpt2.h5 tokens/embeddings head/kernel --transpose -o tied.h5
    """

    def change(model: Model) -> Model:
        from paramctl.edit.tie import tied

        return tied(model, keep, others, transpose)

    def edit(found: Opened, made: Model, path: str) -> str:
        from paramctl.edit.document_edit import with_ties

        assert found.model.document is not None
        return with_ties(found.model.document, made.ties[len(found.model.ties) :], path)

    made = retie(source, output, in_place, force, change, edit)
    names = tuple(each.tied for each in made)
    click.echo(f"{options.abbreviate(names)} tied to {made[0].kept}, whose values are kept", err=True)


def retie(
    source: str | None,
    output: str | None,
    in_place: bool,
    force: bool,
    change: Callable[[Model], Model],
    edit: Callable[[Opened, Model, str], str],
) -> Sequence[Tie]:
    """Write a source under other ties; those that came or went."""
    options.check_destination(source, output, in_place)
    found = options.open_argument(source, (), ())
    made = change(found.model)
    path = str(source) if in_place else str(output)
    if in_place and made.stored and (made.keras is None or any(tie.transpose for tie in made.ties)):
        raise click.UsageError("Keras' own layout has no such ties: write another file by -o NAME.h5.")
    after, before = set(made.ties), set(found.model.ties)
    differing = [tie for tie in (*made.ties, *found.model.ties) if (tie in after) != (tie in before)]
    if found.checkpoint is None:
        text = edit(found, made, str(source))
        if path == "-":
            emit([text.removesuffix("\n")])
        else:
            from paramctl import store
            from paramctl.model.document import read
            from paramctl.store.io.atomic import write_text

            if path.lower().endswith(tuple(suffix for each in store.FORMATS for suffix in each.suffixes)):
                raise click.UsageError(f"This is a model document, and {path} is the name of a checkpoint.")
            mark = "\ufeff" if source not in (None, "-") and read(str(source)).startswith(b"\xef\xbb\xbf") else ""
            write_text(path, mark + text, force or in_place)
        return differing
    from paramctl.edit.in_place import rewrite_target
    from paramctl.edit.tie import RetiedSource

    retied = RetiedSource(options.as_drawn(found), made)
    if path == "-":
        options.refuse_terminal("safetensors")
        to_pipe(retied)
    else:
        target, most = rewrite_target(path, found.checkpoint) if in_place else (path, None)
        to_file(retied, target, force or in_place, most=most)
        tell(retied, target)
    return differing
