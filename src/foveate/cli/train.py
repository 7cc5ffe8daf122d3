"""`foveate train`: parse the recipe, train, say where the checkpoint is."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from foveate.cli.console import Json, print_json
from foveate.errors import InputError


def train(
    data: Annotated[
        str, typer.Argument(help="LLaVA JSON or JSONL, hf:NAME_OR_FOLDER, or scenes:TASKS:COUNT.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the finished checkpoint.")],
    model: Annotated[
        str, typer.Option(help="A stock LLaVA-OneVision: foveate-mini, a folder, or a hub id.")
    ] = "foveate-mini",
    compressor: Annotated[str, typer.Option(help="A learned compressor.")] = "quecc",
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
    epochs: Annotated[str, typer.Option(help="Of both stages.")] = "1,1",
    rates: Annotated[str, typer.Option(help="Highest learning rate of both stages.")] = "1e-3,2e-5",
    batch: Annotated[int, typer.Option(help="Examples a device and step.")] = 16,
    accumulate: Annotated[int, typer.Option(help="Steps a change of the weights.")] = 1,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16.")] = False,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 500,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    as_json: Json = False,
) -> None:
    """Train a learned compressor into a model; run it again after a kill and it goes on."""
    from foveate.train.run import train as run
    from foveate.train.settings import FIRST, SECOND, Recipe

    settings: dict[str, Any] = {"name": compressor} | _knobs(knobs)
    if kernel is not None:
        settings["kernel"] = kernel
    layers = _levels(levels)
    passes, peaks = _pair("--epochs", epochs), _pair("--rates", rates)
    recipe = Recipe(
        model=model,
        data=data,
        compressor=settings,
        multi_level_layers=layers,
        query_encoding=query,
        views=views,
        images=images,
        stages=(
            replace(FIRST, epochs=passes[0], peak=peaks[0]),
            replace(SECOND, epochs=passes[1], peak=peaks[1]),
        ),
        batch=batch,
        accumulate=accumulate,
        bf16=bf16,
        save_every=save_every,
        seed=seed,
    )
    made = run(recipe, out)
    if as_json:
        print_json({"checkpoint": str(made), "recipe": recipe.to_dict()})
    else:
        typer.echo(made)


def _pair(name: str, text: str) -> tuple[float, float]:
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{name} takes FIRST,SECOND (1,1), got {text!r}") from None
    return first, second


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
