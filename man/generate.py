"""Writes the man pages from the commands and the registries; ``--check`` says whether they are stale.

Section 1 has a page for paramctl and one for each command, from what click knows of it: the
``\\b`` block of a command's help is its examples. Section 5 is the language of model documents:
model.mdoc beside this file, with the layers, functions and schemes put in their places.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import click

from paramctl.cli import COMMANDS, CONTEXT, paramctl
from paramctl.declare.located import scalar_text
from paramctl.declare.options import Option
from paramctl.init.registry import SCHEMES
from paramctl.inspect.layers import default_text, first_paragraph
from paramctl.model.layers import FUNCTIONS, LAYERS

HERE = Path(__file__).parent
DATE = "November 25, 2026"

EXIT_STATUS = """.Sh EXIT STATUS
.Bl -tag -width indent
.It 0
Done, or the answer is yes.
.It 1
The answer is no.
.It 2
Trouble: a usage error, a document or a file that is wrong, a disk that is full.
One line on standard error says where, what the rule is and what was received.
.It 130
Interrupted.
.It 141
Whoever read standard output has closed it.
.El"""

ADDRESSES = r""".Sh ADDRESSES
Every command names parameters, and the layers and blocks that hold them, in the same way.
A block means all below it; either name of a tied pair does.
.Bl -tag -width indent
.It Li block2/block\-1/dense/bias
Names, joined by slashes; by dots in a file whose names hold no slash.
Where a file of Keras calls a parameter otherwise, that path does too.
.It Li block\-*/**/kernel
.Li *
and
.Li \&?
stand for letters within a name,
.Li **
for any number of names.
.It Li 0/1/bias , \-1/kernel
A layer, or a parameter of one, by its place among those that
.Nm paramctl summary
shows, counted from 0, or from the end; a name beats a place.
.It Li layers[0].weights[1] , weights[1]
The same as Python has it.
An input is no layer here, and has no place.
A file without a model has its arrays in the order in which they lie there,
which for
.Pa .weights.h5
is not the order of the model in Keras.
.It Li re:.*bias
A regular expression for the whole path.
.It Li 'a[0]'/b
In quotes a name as it is.
.It Li dense/kernel[0, :5]
A slice of the values as NumPy has it, after any of these but a regular expression.
.El"""

ENVIRONMENT = """.Sh ENVIRONMENT
.Bl -tag -width indent
.It Ev NO_COLOR
If set, nothing is coloured.
.It Ev PARAMCTL_<COMMAND>_<OPTION>
The value of an option that is not given, such as
.Ev PARAMCTL_SUMMARY_FORMAT .
.El
.Sh FILES
.Bl -tag -width indent
.It Pa model.yaml
The model document, where none is named.
.El"""


def pages() -> dict[str, str]:
    """Every page, by its path below this folder."""
    made = {"man1/paramctl.1": main_page()}
    for command in COMMANDS:
        made[f"man1/paramctl-{command.name}.1"] = command_page(command)
    made["man5/paramctl-model.5"] = model_page()
    return made


def main_page() -> str:
    listed = "\n".join(f".It Xr paramctl-{each.name} 1\n{text(short(each))}" for each in by_name())
    about_it, examples = parts(paramctl)
    return page(
        "paramctl",
        1,
        f".Sh NAME\n.Nm paramctl\n.Nd {text(short(paramctl).lower().rstrip('.'))}",
        ".Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar options\n.Op Ar arguments",
        f".Sh DESCRIPTION\n{about_it}\n.Bl -tag -width indent\n{listed}\n.El",
        ADDRESSES,
        ENVIRONMENT,
        EXIT_STATUS,
        examples,
        ".Sh SEE ALSO\n" + references([*(f"paramctl-{each.name} 1" for each in by_name()), "paramctl-model 5"]),
    )


def command_page(command: click.Command) -> str:
    about_it, examples = parts(command)
    context = click.Context(command, parent=click.Context(paramctl, **CONTEXT), info_name=command.name)
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    return page(
        f"paramctl-{command.name}",
        1,
        f".Sh NAME\n.Nm paramctl-{command.name}\n.Nd {text(short(command).rstrip('.'))}",
        "\n".join([".Sh SYNOPSIS", f".Nm paramctl {command.name}", *synopsis(arguments, options, context)]),
        f".Sh DESCRIPTION\n{about_it}",
        "\n".join([".Bl -tag -width indent", *map(argument_item, arguments), *map(option_item, options), ".El"]),
        EXIT_STATUS,
        examples,
        ".Sh SEE ALSO\n.Xr paramctl 1 ,\n.Xr paramctl-model 5",
    )


def synopsis(arguments: list[click.Argument], options: list[click.Option], context: click.Context) -> Iterator[str]:
    for option in options:
        yield f".Op {flag(option)}"
    for argument in arguments:
        name = text(argument.make_metavar(context).strip("[]."))
        name = name.removesuffix("]")
        dots = " ..." if argument.nargs == -1 else ""
        yield f".Ar {name}{dots}" if argument.required else f".Op Ar {name}{dots}"


def argument_item(argument: click.Argument) -> str:
    name = (argument.metavar or argument.name or "").strip("[].").upper()
    return f".It Ar {text(name)}\n{text(argument.help or '')}"


def option_item(option: click.Option) -> str:
    default = option.default if option.show_default else None
    says = f"{option.help}" + (f" [default: {default}]" if default is not None else "")
    return f".It {flag(option)}\n{text(says)}"


def flag(option: click.Option) -> str:
    """An option as mdoc has it: ``Fl h , Fl -help``, and what it takes."""
    names = " , ".join(f"Fl {name.removeprefix('-')}" for name in option.opts)
    if option.is_flag:
        return names
    takes = (
        "|".join(option.type.choices)
        if isinstance(option.type, click.Choice)
        else option.metavar or option.type.name.split()[0]
    )
    return f"{names} Ar {text(takes.upper() if isinstance(option.type, click.IntRange) else takes)}"


def model_page() -> str:
    body = (HERE / "model.mdoc").read_text(encoding="utf-8").rstrip("\n")
    layers = {name: (first_paragraph(cls), cls.signature) for name, cls in sorted(LAYERS.items())}
    functions = {name: (first_paragraph(cls), cls.signature) for name, cls in sorted(FUNCTIONS.items())}
    schemes = {name: (first_paragraph(each.function), each.options) for name, each in sorted(SCHEMES.items())}
    for mark, registry in (("@LAYERS@", layers), ("@ACTIVATIONS@", functions), ("@SCHEMES@", schemes)):
        items = (listing(name, says, options) for name, (says, options) in registry.items())
        body = body.replace(mark, "\n".join([".Bl -tag -width indent", *items, ".El"]))
    return page("paramctl-model", 5, body)


def listing(name: str, says: str, options: dict[str, Option]) -> str:
    """A type with its options, each with its default and its rule."""
    lines = [f".It Ic {text(name)}", text(says)]
    if options:
        lines.append(".Bl -tag -width indent -compact")
        for option in options.values():
            default = "required" if option.required else f"default {scalar_text(default_text(option.default))}"
            lines += [f".It Ar {text(option.name)}", text(f"{option.type.rule}; {default}.")]
        lines.append(".El")
    return "\n".join(lines)


def page(name: str, section: int, *parts: str) -> str:
    heading = f".Dd {DATE}\n.Dt {name.upper()} {section}\n.Os"
    return "\n".join([heading, *(part for part in parts if part), ""])


def parts(command: click.Command) -> tuple[str, str]:
    """A command's help as paragraphs, and its examples as a section of their own."""
    about_it, _, examples = (command.help or "").partition("\b\n")
    paragraphs = [" ".join(each.split()) for each in about_it.strip().split("\n\n")]
    lines = [text(line) for line in dedent(examples).rstrip().split("\n")]
    shown = "\n".join([".Sh EXAMPLES", ".Bd -literal -offset indent", *lines, ".Ed"]) if examples else ""
    return "\n.Pp\n".join(map(text, paragraphs)), shown


def short(command: click.Command) -> str:
    """The first sentence of a command's help."""
    return (command.help or "").partition("\n\n")[0].replace("\n", " ").partition(": ")[0].strip()


def by_name() -> list[click.Command]:
    return sorted(COMMANDS, key=lambda command: command.name or "")


def references(names: list[str]) -> str:
    return " ,\n".join(f".Xr {name}" for name in names)


def text(words: str) -> str:
    """Words that roff reads as they are: no escape, no request, a line for each sentence."""
    escaped = words.replace("\\", "\\e").replace('"', "\\(dq").replace("-", "\\-")
    lines = escaped.replace(". ", ".\n").split("\n")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in lines)


def main() -> int:
    """Write the pages, or with --check only compare; 1 if any is stale."""
    made = pages()
    kept = {str(path.relative_to(HERE)): path.read_text(encoding="utf-8") for path in HERE.glob("man*/*.*")}
    if "--check" in sys.argv[1:]:
        stale = sorted(name for name in made.keys() | kept.keys() if made.get(name) != kept.get(name))
        sys.stderr.writelines(f"man/{name} is stale: run make man\n" for name in stale)
        return 1 if stale else 0
    for name in kept.keys() - made.keys():
        (HERE / name).unlink()
    for name, content in made.items():
        (HERE / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
