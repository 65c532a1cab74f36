"""paramctl schema: the JSON schema of model documents."""

import click

from paramctl.cli.command import Command
from paramctl.cli.render import emit, json_text


@click.command(cls=Command)
def schema() -> None:
    """Print the JSON schema of model documents, for editors that complete and check them.

    \b
    paramctl schema > model.schema.json
    # yaml-language-server: $schema=model.schema.json      a document's first line
    """
    from paramctl.inspect.schema import schema as schema_of

    emit([json_text(schema_of())])
