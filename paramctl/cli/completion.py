"""paramctl completion: a script that completes commands, options and addresses in a shell."""

import click
from click.shell_completion import get_completion_class

from paramctl.cli.command import Command


@click.command(cls=Command, short_help="Print a TAB completion script for a shell")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), help="The shell")
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a TAB completion script for a shell.

    The script completes commands, options, layer types, schemes, and the paths of parameters in a model or file.

    \b
    Examples:
      eval "$(paramctl completion bash)"        # in ~/.bashrc
      eval "$(paramctl completion zsh)"         # in ~/.zshrc
      paramctl completion fish | source         # in ~/.config/fish/config.fish
    """
    shell_class = get_completion_class(shell)
    assert shell_class is not None
    click.echo(shell_class(context.find_root().command, {}, "paramctl", "_PARAMCTL_COMPLETE").source())
