"""`foveate doctor`: what this machine has for foveate, and what to do about what it lacks."""

from dataclasses import asdict

from rich.markup import escape
from rich.table import Table

from foveate.cli.console import Json, print_json, print_table

STYLES = {"fine": "green", "lacking": "yellow", "wrong": "red"}


def doctor(as_json: Json = False) -> None:
    """List versions, devices, attention kernels, families and extras; exit with 1 if one is wrong."""
    import typer

    from foveate.doctor import WRONG, findings

    found = findings()
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        table = Table("what", "found", "state", "what to do")
        for one in found:
            state = f"[{STYLES[one.state]}]{one.state}[/]"
            table.add_row(escape(one.what), escape(one.found), state, escape(one.remedy))
        print_table(table)
    if any(one.state == WRONG for one in found):
        raise typer.Exit(1)
