"""`gitopsd schema`: JSON Schemas, for editors and programs."""

from __future__ import annotations

import click

from gitopsd.cli.options import print_json, say


@click.command(epilog="Example: gitopsd schema stack > stack.schema.json")
@click.argument("name", type=click.Choice(["fleet", "stack", "plan"]))
def command(name: str) -> None:
    """Print the JSON Schema of the fleet file, of a stack file, or of a plan as `gitopsd plan --json` prints it."""
    if name == "plan":
        from gitopsd.plan import schema

        print_json(schema())
        return
    from gitopsd.render.schema.export import schema_text

    say(schema_text("fleet" if name == "fleet" else "stack"), nl=False)
