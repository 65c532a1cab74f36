"""paramctl completion: a script that completes commands, options and addresses in a shell."""

import click

from paramctl.cli.command import Command
from paramctl.cli.completions import SHELLS
from paramctl.cli.render import emit


@click.command(cls=Command, short_help="Print a TAB completion script for a shell")
@click.argument("shell", type=click.Choice(SHELLS), help="The shell")
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a TAB completion script for a shell.

    The script completes commands, options and their values: the paths of parameters and the variables of the model on
    the command line, schemes and their options, columns, presets, dtypes, layer types, formats and files.

    \b
    Examples:
      eval "$(paramctl completion bash)"        # in ~/.bashrc
      eval "$(paramctl completion zsh)"         # in ~/.zshrc
      paramctl completion fish | source         # in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class  # --help, which loads every command, needs neither

    from paramctl.cli import shells

    shells.register()
    shell_class = get_completion_class(shell)
    assert shell_class is not None
    emit([shell_class(context.find_root().command, {}, "paramctl", "_PARAMCTL_COMPLETE").source()])
