"""The kind of command that all are: one in which an address may begin with a minus sign, as ``-1/kernel`` does."""

from __future__ import annotations

import re

import click

_NEGATIVE_PLACE = re.compile(r"-\d+($|[/.\[ +*=-])")


class Command(click.Command):
    """A command whose arguments may begin with a minus sign and a digit; they reach it with a space before."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        takes = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag and not option.count
            for name in option.opts
        }
        before = [None, *args]
        plain = args.index("--") if "--" in args else len(args)
        return super().parse_args(
            ctx,
            [
                f" {arg}" if place < plain and _NEGATIVE_PLACE.match(arg) and last not in takes else arg
                for place, (last, arg) in enumerate(zip(before, args, strict=False))
            ],
        )
