"""paramctl completion: a script that teaches a shell the commands and options."""

import click
from click.shell_completion import get_completion_class

from paramctl.cli.command import Command


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), help="Which shell.")
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script for TAB completion in a shell.

    \b
    eval "$(paramctl completion bash)"        in ~/.bashrc
    eval "$(paramctl completion zsh)"         in ~/.zshrc
    paramctl completion fish | source         in ~/.config/fish/config.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(context.find_root().command, {}, "paramctl", "_PARAMCTL_COMPLETE").source())
