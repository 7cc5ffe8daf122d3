"""`foveate train`: parse the recipe, train, say where the checkpoint is."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from foveate.cli.console import Json, Written, print_json
from foveate.errors import InputError


def train(
    data: Annotated[
        str, typer.Argument(help="LLaVA JSON or JSONL, hf:NAME_OR_FOLDER, or scenes:TASKS:COUNT.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the finished checkpoint.")],
    model: Annotated[
        str, typer.Option(help="foveate-mini, a folder, or a hub id; for a compressor OneVision.")
    ] = "foveate-mini",
    reduction: Written = None,
    rank: Annotated[int | None, typer.Option(help="Of LoRA through --reduction.")] = None,
    compressor: Annotated[str | None, typer.Option(help="A learned compressor: quecc.")] = None,
    kernel: Annotated[int | None, typer.Option(help="Side of a region, in patches.")] = None,
    knobs: Annotated[
        str, typer.Option(help="Other settings of the compressor: most=36,heads=4.")
    ] = "",
    query: Annotated[
        str, typer.Option(help="The question's vector: llm, embedding, none.")
    ] = "none",
    levels: Annotated[str, typer.Option(help="Vision layers side by side: 12,16,22,23.")] = "",
    views: Annotated[str, typer.Option(help="base, or all with tiles.")] = "base",
    images: Annotated[str | None, typer.Option(help="Folder of the data's images.")] = None,
    epochs: Annotated[str | None, typer.Option(help="Of both stages: 1,1; of LoRA: 1.")] = None,
    rates: Annotated[
        str | None, typer.Option(help="Highest learning rates: 1e-3,2e-5; of LoRA: 2e-4.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Examples a device and step.")] = 16,
    accumulate: Annotated[int, typer.Option(help="Steps a change of the weights.")] = 1,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16.")] = False,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 500,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    as_json: Json = False,
) -> None:
    """Train a learned compressor into a model, or (--reduction) a model to read what a method leaves.

    Run it again after a kill and it goes on.
    """
    common: dict[str, Any] = {"model": model, "data": data, "images": images, "batch": batch}
    common |= {"accumulate": accumulate, "bf16": bf16, "save_every": save_every, "seed": seed}
    of_compressor = {"compressor": compressor, "kernel": kernel, "knobs": knobs, "levels": levels}
    of_compressor |= {"query": query, "views": views}
    if reduction is not None:
        recipe, made = _adapted(reduction, rank, epochs, rates, common, of_compressor, out)
    elif rank is not None:
        raise InputError(f"--rank is of LoRA through a --reduction, got {rank} without one")
    else:
        recipe, made = _compressed(epochs, rates, common, of_compressor, out)
    if as_json:
        print_json({"checkpoint": str(made), "recipe": recipe.to_dict()})
    else:
        typer.echo(made)


def _adapted(
    written: str,
    rank: int | None,
    epochs: str | None,
    rates: str | None,
    common: dict[str, Any],
    of_compressor: dict[str, Any],
    out: Path,
) -> tuple[Any, Path]:
    """Train a model through a reduction; its recipe, and where it is.

    Raises:
        InputError: options of a compressor beside it.
    """
    from foveate.reduction import read_reduction
    from foveate.train.adapt import adapt
    from foveate.train.settings import ADAPT, Adaptation

    usual = {"query": "none", "views": "base"}
    given = [
        f"--{name}" for name, value in of_compressor.items() if value and value != usual.get(name)
    ]
    if given:
        raise InputError(f"--reduction trains no compressor; got it beside {' and '.join(given)}")
    passes, peak = _numbers("--epochs", epochs or "1", 1), _numbers("--rates", rates or "2e-4", 1)
    recipe = Adaptation(
        reduction=read_reduction(written).to_dict(),
        stage=replace(ADAPT, epochs=passes[0], peak=peak[0]),
        rank=Adaptation.rank if rank is None else rank,
        **common,
    )
    return recipe, adapt(recipe, out)


def _compressed(
    epochs: str | None,
    rates: str | None,
    common: dict[str, Any],
    of_compressor: dict[str, Any],
    out: Path,
) -> tuple[Any, Path]:
    """Train a compressor into a model; its recipe, and where it is."""
    from foveate.train.run import train as run
    from foveate.train.settings import FIRST, SECOND, Recipe

    settings: dict[str, Any] = {"name": of_compressor["compressor"] or "quecc"}
    settings |= _knobs(of_compressor["knobs"])
    if of_compressor["kernel"] is not None:
        settings["kernel"] = of_compressor["kernel"]
    layers = _levels(of_compressor["levels"])
    passes = _numbers("--epochs", epochs or "1,1", 2)
    peaks = _numbers("--rates", rates or "1e-3,2e-5", 2)
    recipe = Recipe(
        compressor=settings,
        multi_level_layers=layers,
        query_encoding=of_compressor["query"],
        views=of_compressor["views"],
        stages=(
            replace(FIRST, epochs=passes[0], peak=peaks[0]),
            replace(SECOND, epochs=passes[1], peak=peaks[1]),
        ),
        **common,
    )
    return recipe, run(recipe, out)


def _numbers(name: str, text: str, count: int) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != count:
        shape = "a number (1)" if count == 1 else "FIRST,SECOND (1,1)"
        raise InputError(f"{name} takes {shape} here, got {text!r}")
    return found


def _levels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(layer) for layer in text.split(",") if layer)
    except ValueError:
        raise InputError(f"--levels takes layers (12,16,22,23), got {text!r}") from None


def _knobs(text: str) -> dict[str, Any]:
    """`most=36,heads=4`.

    Raises:
        InputError: anything else.
    """
    try:
        pairs = [part.split("=") for part in text.split(",") if part]
        return {name: int(value) for name, value in pairs}
    except ValueError:
        raise InputError(f"--knobs takes NAME=NUMBER,..., got {text!r}") from None
