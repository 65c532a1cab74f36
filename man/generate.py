"""Write the man pages from the commands and the registries; ``--check`` reports pages that are stale.

It writes the texts of paramctl/quick, too.

Section 1 has a page for paramctl and one for each command, from click's declarations. Section 5 has the language of
model documents: model.mdoc in this folder, with the layers, activation functions and schemes inserted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from textwrap import dedent

import click

from paramctl import __version__
from paramctl.cli import CONTEXT, all_commands, paramctl
from paramctl.cli.quick_texts import quick_texts
from paramctl.declare.located import scalar_text
from paramctl.declare.options import Option
from paramctl.init.registry import SCHEMES
from paramctl.inspect.layers import default_text, first_paragraph
from paramctl.model.layers import FUNCTIONS, LAYERS

HERE = Path(__file__).parent
QUICK = "../paramctl/quick"
DATE = "November 28, 2026"

EXIT_STATUS = """.Sh EXIT STATUS
.Bl -tag -width indent
.It 0
Success.
.It 1
Differences, in
.Nm paramctl diff .
No other command exits with 1.
.It 2
An error: wrong usage, a wrong document or file, or a file that cannot be written.
Standard error has one line with the place, the rule, the value and, if known, the fix.
.It 130
Interrupted by Ctrl-C.
.It 141
Standard output was closed early, as by
.Xr head 1 .
.El"""

ADDRESSES = r""".Sh ADDRESSES
Every command uses the same address syntax for parameters and for the layers and blocks that contain them.
The address of a block means every parameter below it.
Either name of a tied parameter can be used.
.Bl -tag -width indent
.It Li block2/block\-1/dense/bias
Names joined by slashes, or by dots in a file whose names contain no slash.
Parameters of a Keras file can also be addressed by their path in that file.
.It Li block\-*/**/kernel
.Li *
matches any characters within a name,
.Li \&?
one character, and
.Li **
any number of names.
.It Li block\-[0..11]
numbers in a name, from 0 to 11; so are
.Li [0..2,4..31]
and, by 2,
.Li [1..47:2]
.It Li 0/1/bias , \-1/kernel
A layer, or a parameter of a layer, by its index among those that
.Nm paramctl summary
prints.
Indices start at 0; negative indices count from the end.
If a name consists of digits, it takes precedence over an index.
.It Li layers[0].weights[1] , weights[1]
The same, as written in Python with Keras.
Inputs are not layers here and have no index.
A file without a model has its arrays in the order of the file, which in
.Pa .weights.h5
differs from the order in Keras.
.It Li re:.*bias
A regular expression that matches the whole path.
One that takes longer than five seconds is an error.
.It Li 'a[0]'/b
A name in quotes is used literally.
The quotes may hold several names with their separators.
The shell removes a pair of quotes, so type
.Li \(dq'a[0]'/b\(dq .
.It Li dense/kernel[0, :5]
A slice, as in NumPy, after any of these except a regular expression.
.El"""

CSV = """.Sh CSV
CSV follows RFC 4180, with lines that end in a newline.
Names are exact, and quoted if they have a comma, a quote or an end of a line.
A spreadsheet may run a field that begins with
.Li = ,
.Li + ,
.Li \\-
or
.Li @
as a formula, so import the columns of files that you do not trust as text."""

ENVIRONMENT = """.Sh ENVIRONMENT
.Bl -tag -width indent
.It Ev COLUMNS , LINES
The size of the terminal that tables are fitted to.
.It Ev NO_COLOR
If set, output has no colors unless
.Fl -color
asks for them.
.It Ev FORCE_COLOR , CLICOLOR_FORCE
If set and not 0, output has colors in a pipe too.
.It Ev PARAMCTL_PAGER , PAGER
The pager for long tables on a terminal; by default
.Xr less 1 ,
with
.Ev LESS
set to FRX if it is not set.
An empty value or
.Li cat
means none.
.It Ev HF_ENDPOINT , HF_TOKEN , HF_TOKEN_PATH , HF_HOME , HF_HUB_CACHE , HF_HUB_OFFLINE
The server of
.Li hf://
addresses, the token and its file, the cache, and 1 to read that cache alone, as Hugging Face's libraries take them.
.It Ev HTTP_PROXY , HTTPS_PROXY , NO_PROXY
The proxies of URLs, and the hosts without one.
.It Ev NETRC
The file with users and passwords for
.Li https://
URLs; by default
.Pa ~/.netrc .
.It Ev PARAMCTL_<COMMAND>_<OPTION>
The default of an option, such as
.Ev PARAMCTL_SUMMARY_FORMAT .
.It Ev SSL_CERT_FILE
The certificates to trust for
.Li https://
URLs.
.El
.Sh FILES
.Bl -tag -width indent
.It Pa model.yaml
The model document that commands read if none is named.
.El"""


def pages() -> dict[str, str]:
    """Return the text of every page, by its path in this folder."""
    texts = {"man1/paramctl.1": main_page()}
    for command in all_commands():
        texts[f"man1/paramctl-{command.name}.1"] = command_page(command)
    texts["man5/paramctl-model.5"] = model_page()
    return texts | {f"{QUICK}/{name}": content for name, content in quick_texts().items()}


def main_page() -> str:
    """Return the page of paramctl itself, which lists the commands."""
    commands = "\n".join(f".It Xr paramctl-{each.name} 1\n{text(each.short_help or '')}" for each in by_name())
    description, examples = sections(paramctl)
    summary, _, rest = description.partition("\n.Pp\n")
    context = click.Context(paramctl, info_name="paramctl", **CONTEXT)
    items = [option_item(each, context) for each in paramctl.get_params(context) if isinstance(each, click.Option)]
    return page(
        "paramctl",
        1,
        f".Sh NAME\n.Nm paramctl\n.Nd {uncapitalized(summary.rstrip('.'))}",
        ".Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar options\n.Op Ar arguments",
        f".Sh DESCRIPTION\n{rest}\n.Bl -tag -width indent\n{commands}\n.El",
        "\n".join([".Pp\nThese options precede the command:\n.Bl -tag -width indent", *items, ".El"]),
        ADDRESSES,
        CSV,
        ENVIRONMENT,
        EXIT_STATUS,
        examples,
        ".Sh SEE ALSO\n" + references([*(f"paramctl-{each.name} 1" for each in by_name()), "paramctl-model 5"]),
    )


def command_page(command: click.Command) -> str:
    """Return the page of a command."""
    description, examples = sections(command)
    context = click.Context(command, parent=click.Context(paramctl, **CONTEXT), info_name=command.name)
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    items = [argument_item(each, context) for each in arguments] + [option_item(each, context) for each in options]
    return page(
        f"paramctl-{command.name}",
        1,
        f".Sh NAME\n.Nm paramctl-{command.name}\n.Nd {text(uncapitalized(command.short_help or ''))}",
        "\n".join([".Sh SYNOPSIS", f".Nm paramctl {command.name}", *synopsis(arguments, options, context)]),
        f".Sh DESCRIPTION\n{description}",
        "\n".join([".Bl -tag -width indent", *items, ".El"]),
        f".Pp\n{paragraphs(command.epilog)}" if command.epilog else "",
        EXIT_STATUS,
        examples,
        ".Sh SEE ALSO\n.Xr paramctl 1 ,\n.Xr paramctl-model 5",
    )


def synopsis(arguments: list[click.Argument], options: list[click.Option], context: click.Context) -> Iterator[str]:
    """Yield the lines that show how a command is called."""
    for option in options:
        yield f".Op {' | '.join(flags(option, context))}"
    for argument in arguments:
        dots = " ..." if argument.nargs == -1 else ""
        name = f"Ar {argument_name(argument, context)}{dots}"
        yield f".{name}" if argument.required else f".Op {name}"


def argument_name(argument: click.Argument, context: click.Context) -> str:
    """Return the name of an argument without the signs that click adds: ``ADDRESS`` for ``[ADDRESS]...``."""
    return text(argument.make_metavar(context).strip("[].{}"))


def argument_item(argument: click.Argument, context: click.Context) -> str:
    return f".It Ar {argument_name(argument, context)}\n{text(argument.help or '')}"


def option_item(option: click.Option, context: click.Context) -> str:
    """Return the entry of an option: its names, its help, and its default and range as ``--help`` has them."""
    _, help_text = option.get_help_record(context) or ("", "")
    return f".It {' , '.join(flags(option, context))}\n{text(help_text)}"


def flags(option: click.Option, context: click.Context) -> list[str]:
    """Return every name of an option in mdoc, ``Fl -trainable`` and ``Fl -frozen``; the last has the value's name."""
    names = [f"Fl {name.removeprefix('-')}" for name in (*option.opts, *option.secondary_opts)]
    if not option.is_flag:
        names[-1] += f" Ar {text(value_name(option, context))}"
    return names


def value_name(option: click.Option, context: click.Context) -> str:
    """Return the name of an option's value, and ``json|csv`` for a choice, which click puts in brackets."""
    if isinstance(option.type, click.Choice):
        return "|".join(option.type.choices)
    return option.make_metavar(context)


def model_page() -> str:
    """Return the page of the language, with every layer, activation function and scheme."""
    body = (HERE / "model.mdoc").read_text(encoding="utf-8").rstrip("\n")
    layers = {name: (first_paragraph(cls), cls.signature) for name, cls in sorted(LAYERS.items())}
    functions = {name: (first_paragraph(cls), cls.signature) for name, cls in sorted(FUNCTIONS.items())}
    schemes = {name: (first_paragraph(each.function), each.options) for name, each in sorted(SCHEMES.items())}
    for mark, registry in (("@LAYERS@", layers), ("@ACTIVATIONS@", functions), ("@SCHEMES@", schemes)):
        items = (listing(name, description, options) for name, (description, options) in registry.items())
        body = body.replace(mark, "\n".join([".Bl -tag -width indent", *items, ".El"]))
    return page("paramctl-model", 5, body)


def listing(name: str, description: str, options: dict[str, Option]) -> str:
    """Return the entry of a type: its description, and each option with its rule and its default."""
    lines = [f".It Ic {text(name)}", text(description)]
    if options:
        lines.append(".Bl -tag -width indent -compact")
        for option in options.values():
            default = "required" if option.required else f"default {scalar_text(default_text(option.default))}"
            lines += [f".It Ar {text(option.name)}", text(f"{option.type.rule}; {default}.")]
        lines.append(".El")
    return "\n".join(lines)


def page(name: str, section: int, *parts: str) -> str:
    heading = f".Dd {DATE}\n.Dt {name.upper()} {section}\n.Os paramctl {__version__}"
    return "\n".join([heading, *(part for part in parts if part), ""])


def sections(command: click.Command) -> tuple[str, str]:
    """Return the paragraphs of a command's help, and its examples as a section."""
    description, _, examples = cleandoc(command.help or "").partition("\b\nExamples:\n")
    lines = [text(line) for line in dedent(examples).rstrip().split("\n")]
    shown = "\n".join([".Sh EXAMPLES", ".Bd -literal -offset indent", *lines, ".Ed"]) if examples else ""
    return paragraphs(description), shown


def paragraphs(words: str) -> str:
    """Return paragraphs, which empty lines separate, in mdoc."""
    return "\n.Pp\n".join(text(" ".join(each.split())) for each in words.strip().split("\n\n") if each.strip())


def uncapitalized(words: str) -> str:
    """Return a phrase with a small first letter, as the line NAME of a page has it."""
    return words[:1].lower() + words[1:]


def by_name() -> list[click.Command]:
    return sorted(all_commands(), key=lambda command: command.name or "")


def references(names: list[str]) -> str:
    return " ,\n".join(f".Xr {name}" for name in names)


def text(words: str) -> str:
    """Return text that roff prints literally, with a line for each sentence, as mdoc wants it."""
    escaped = words.replace("\\", "\\e").replace('"', "\\(dq").replace("-", "\\-")
    lines = escaped.replace(". ", ".\n").split("\n")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in lines)


def main() -> int:
    """Write the pages, or with --check only compare them, and return 1 if any is stale."""
    expected = pages()
    found = {str(path.relative_to(HERE)): path.read_text(encoding="utf-8") for path in HERE.glob("man*/*.*")}
    texts = (HERE / QUICK).glob("*.txt")
    found |= {f"{QUICK}/{path.name}": path.read_text(encoding="utf-8") for path in texts}
    if "--check" in sys.argv[1:]:
        stale = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        sys.stderr.writelines(f"{name} is stale. Run make man\n" for name in stale)
        return 1 if stale else 0
    for name in found.keys() - expected.keys():
        (HERE / name).unlink()
    for name, content in expected.items():
        (HERE / name).write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
