"""`foveate families`: what works on which family of models, and which are out of scope."""

import sys

from rich.table import Table

from foveate.cli.console import Json, print_json, print_table


def families(as_json: Json = False) -> None:
    """List the model families, what works on each, and the model types that are refused, with why."""
    from foveate.models.scope import OUT_OF_SCOPE
    from foveate.models.support import support, watching
    from foveate.runtime.seams import TESTED

    rows = [vars(row) for row in support(TESTED["transformers"])]
    others = [{"family": kind, "why": why} for kind, why in OUT_OF_SCOPE.items()]
    watch = watching()
    if as_json:
        document = {"families": rows, "watch_the_encoder": watch, "out_of_scope": others}
        print_json(document)
        return
    for listed in (rows, others):
        table = Table(*(name.replace("_", " ") for name in listed[0]))
        for row in listed:
            table.add_row(*(text.replace("[", r"\[") for text in row.values()))
        print_table(table)
    sys.stdout.write(f"methods that watch the encoder: {', '.join(watch)}\n")
