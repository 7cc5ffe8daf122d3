"""`foveate methods`: the methods, and the families that they work on."""

from rich.table import Table

from foveate.cli.console import Json, print_json, print_table


def methods(as_json: Json = False) -> None:
    """List the reduction methods, and the model families that they work on."""
    from foveate.models.support import support
    from foveate.registry import methods as known
    from foveate.runtime.seams import TESTED

    rows = [
        {
            "name": m.name,
            "stage": m.stage,
            "needs": ", ".join(getattr(m.build(), "needs", ())),
            "source": m.source,
            "summary": m.summary,
        }
        for m in known().values()
    ]
    families = [vars(row) for row in support(TESTED["transformers"])]
    if as_json:
        print_json({"methods": rows, "families": families})
        return
    for listed in (rows, families):
        table = Table(*(name.replace("_", " ") for name in listed[0]))
        for row in listed:
            table.add_row(*(text.replace("[", r"\[") for text in row.values()))
        print_table(table)
