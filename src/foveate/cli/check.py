"""`foveate check`: the contract on any model, so that a guess about it is one no longer."""

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from foveate.cli.console import Json, print_json


def check(
    model: Annotated[
        str, typer.Argument(help="A folder or hub id with a config.json, or a model type.")
    ],
    as_json: Json = False,
) -> None:
    """Run the contract on a small random copy of a model: groups, caches, batches, and what is dropped.

    Exit status 1 where something does not hold.
    """
    tried, family = _tried(model)
    found = []
    for finding in _contract(tried, family):
        found.append({**asdict(finding), "holds": finding.holds})
        if not as_json:
            word = "holds " if finding.holds else "BROKEN"
            more = "" if finding.holds else f": {finding.fault}"
            sys.stdout.write(f"{word}  {finding.modality}: {finding.what}{more}\n")
    if as_json:
        print_json({"model": type(tried).__name__, "family": family.model_type, "checks": found})
    if not all(finding["holds"] for finding in found):
        raise typer.Exit(1)


def _tried(name: str) -> tuple[Any, Any]:
    """A model to try the contract on, and the family that draws its prompts."""
    import torch

    from foveate.models.family import families, family_of_config
    from foveate.models.tiny.copies import read_config, small_copies
    from foveate.testing.drawn import draw_for

    if name in families():
        torch.manual_seed(0)
        return families()[name].tiny(), families()[name]
    config = read_config(name)
    family_of_config(config, repr(name))
    drawn = draw_for(small_copies(config))
    return drawn.model, drawn


def _contract(model: Any, family: Any) -> Any:
    from foveate.testing.contract import check_contract

    return check_contract(model, family)
