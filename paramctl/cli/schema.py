"""paramctl schema: the JSON schema of model documents."""

import click

import paramctl
from paramctl.cli.command import Command
from paramctl.cli.render import emit, json_text


@click.command(cls=Command, short_help="Print the JSON schema of model documents")
def schema() -> None:
    """Print the JSON schema of model documents.

    An editor that is given the schema completes and checks a document as you type.

    \b
    Examples:
      paramctl schema > model.schema.json
      # yaml-language-server: $schema=model.schema.json      (the first line of a document)
    """
    emit([json_text(paramctl.schema())])
