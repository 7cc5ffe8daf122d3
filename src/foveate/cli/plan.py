"""`foveate plan`: a reduction for a budget, frames for a cost, or a model size for a law."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from foveate.cli.console import Json, OldMachine, parse_size, print_json, print_table, renamed
from foveate.defaults import ANSWER_TOKENS, MACHINE, QUERY_TOKENS, TASK, TEXT_TOKENS
from foveate.errors import InputError

LawName = Annotated[
    str | None,
    typer.Option(help="No model: reasoning, ocr, a CSV, or shares: reasoning=0.8,ocr=0.2."),
]
LawSizes = Annotated[
    str | None, typer.Option(help="With --law, LLMs to choose from in billions: 0.5,1.8,7.")
]
LawForm = Annotated[
    str | None, typer.Option(help="With --law: product (default), additive or interaction.")
]
LawEncoder = Annotated[
    str | None, typer.Option(help="With --law, FLOPs to encode a picture or frame: 0.4 TFLOP.")
]


def plan(
    model: Annotated[
        str | None, typer.Argument(help="A published model, foveate-mini, or a folder.")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="25%, 15 TFLOP, 40% with encoder, 120 MB (KV cache), 60 ms.")
    ] = None,
    images: Annotated[int, typer.Option(help="Pictures shown.")] = 1,
    frames: Annotated[
        int, typer.Option(help="Frames of a clip, instead of pictures; --law: by default the best.")
    ] = 0,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of a picture or frame.")] = None,
    picture: Annotated[
        str | None, typer.Option(help="A picture or clip that is shown, instead of counts.")
    ] = None,
    text: Annotated[
        int | None,
        typer.Option(help=f"Text tokens of the prompt: {TEXT_TOKENS}; --law: {QUERY_TOKENS}."),
    ] = None,
    answer: Annotated[int, typer.Option(help="Tokens of the answer.")] = ANSWER_TOKENS,
    task: Annotated[
        str, typer.Option(help="reasoning; ocr: text is read; auto: look at it; or one measured.")
    ] = TASK,
    machine: Annotated[str | None, typer.Option(help="As in cost; a time is of it.")] = None,
    hardware: OldMachine = None,
    measured: Annotated[
        Path | None, typer.Option(help="Of this model, by foveate measure: the best that fits.")
    ] = None,
    analysis: Annotated[
        Path | None, typer.Option(help="Of this model, by foveate analyze --out: start there.")
    ] = None,
    law: LawName = None,
    sizes: LawSizes = None,
    form: LawForm = None,
    encoder: LawEncoder = None,
    as_json: Json = False,
) -> None:
    """Turn a budget into a reduction; --frames alone: how many fit; --law: which LLM, how many tokens."""
    _check(law, budget, (analysis, measured), (sizes, form, encoder))
    if text is None:
        text = TEXT_TOKENS if law is None else QUERY_TOKENS
    if law is not None:
        if model is not None:
            raise InputError(f"--law chooses a model, so it takes none, got {model!r}")
        of_law = {"text_tokens": text, "frames": [frames] if frames else None}
        _print_optimum(law, form, budget, sizes, encoder, of_law, as_json=as_json)
    elif model is None:
        raise InputError("plan takes a model, or --law to choose one")
    elif budget is None:
        _print_frames(model, frames, text, size, as_json=as_json)
    else:
        shown = _shown(images, frames, size, picture)
        on = renamed("--machine", machine, "--hardware", hardware) or MACHINE
        knobs: dict[str, Any] = {"text_tokens": text, "answer_tokens": answer, "machine": on}
        knobs |= {"measured": measured or (), "analysis": analysis}
        _print_reduction(model, budget, shown, task, knobs, as_json=as_json)


def _check(law: str | None, budget: str | None, of_model: tuple, of_law: tuple) -> None:
    """Refuse options that are of another question."""
    if any(of_model) and (law is not None or budget is None):
        raise InputError("--analysis and --measured are of a model: they take a --budget, no --law")
    if all(of_model):
        raise InputError("a plan rests on --measured or on --analysis, got both")
    if law is None and any(of_law):
        raise InputError("--sizes, --form and --encoder are of a --law")


def _shown(images: int, frames: int, size: str | None, picture: str | None) -> tuple[Any, list]:
    """What a cost depends on, and the pixels where there is a file."""
    from foveate.ask.media import Sampling, looked_at, media_of, read
    from foveate.cost.vision.encoder import Media

    if picture is None:
        return Media(images, frames, *parse_size(size)), []
    opened = read(picture, Sampling(frames or None))
    return media_of(opened), looked_at([opened])


def _print_reduction(
    model: str,
    budget: str,
    shown: tuple[Any, list],
    task: Any,
    knobs: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from foveate.planner.reduction import decide, plan_reduction
    from foveate.reduction import typed

    media, pixels = shown
    chosen = decide(task, pixels)
    found = plan_reduction(model, budget, media, task=chosen, **knobs)
    if as_json:
        print_json({"task": chosen, **found.to_dict()})
        return
    sys.stdout.write(f"{typed(found.reduction)}\n{found.why}; {found.summary}\n")
    if found.advice is not None:
        sys.stdout.write(f"{found.advice}\n")


def _print_frames(model: str, frames: int, text: int, size: str | None, *, as_json: bool) -> None:
    from foveate.planner.frames import plan_frames

    height, width = parse_size(size)
    shape = None if height is None or width is None else (height, width)
    counted = {"LLM": {}, "encoder and LLM": {"encoder": True}}
    counted["LLM, as AIM's tables charge it"] = {"convention": "llm-viewer"}
    rows = [
        {"counted": name, "of": frames}
        | {"frames": plan_frames(model, frames, text, size=shape, **knobs).frames}
        for name, knobs in counted.items()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        sys.stdout.write(
            f"{row['frames']} frames under AIM's published setting cost no more than {frames} "
            f"whole ones ({row['counted']})\n"
        )


def _print_optimum(
    law: str,
    form: str | None,
    budget: str | None,
    sizes: str | None,
    encoder: str | None,
    knobs: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from foveate.planner.budget import Budget
    from foveate.planner.plan import plan_size

    if budget is None:
        raise InputError('--law needs a --budget in FLOPs, such as "0.4 TFLOP"')
    if sizes is not None:
        knobs["models"] = {f"{number:g}B": number for number in _numbers(sizes)}
    if encoder is not None:
        knobs["encoder_flops"] = Budget.of_flops(encoder, "--encoder").value
    found = plan_size(budget, _mixture(law, form or "product"), **knobs)
    if as_json:
        print_json(asdict(found))
        return
    table = Table("LLM", "visual tokens", "frames", "error", "regret", "95 % interval", "")
    for choice in (found.best, *found.neighbours):
        regret = choice.regret_interval
        table.add_row(
            f"{choice.params_b:.3g}B", f"{choice.visual_tokens:.0f}", f"{choice.frames:g}",
            f"{choice.error:.4f}", f"{choice.regret:.4f}", f"{regret.low:.4f} to {regret.high:.4f}",
            "extrapolated" if choice.extrapolated else "",
        )  # fmt: skip
    print_table(table)
    sys.stdout.write(_best_text(found, knobs["text_tokens"]))


def _best_text(found: Any, text: int) -> str:
    """The best choice in words, and what is as good."""
    best = found.best
    frames = ""
    if best.frames != 1:
        frames = (
            f" in each of {best.frames:g} frames ({found.frames.low:g} to {found.frames.high:g})"
        )
    return (
        f"Best: {best.params_b:.3g}B ({found.params_b.low:.3g} to {found.params_b.high:.3g}) "
        f"with {best.visual_tokens:.0f} visual tokens ({found.visual_tokens.low:.0f} to "
        f"{found.visual_tokens.high:.0f}){frames}, {text} text tokens; counts from "
        f"{found.alike.low:.0f} to {found.alike.high:.0f} are within the laws' misfit of "
        f"it{': a flat optimum' if found.flat else ''}\n"
    )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--sizes takes billions of parameters (0.5,1.8,7), got {text!r}"
        ) from None


def _mixture(text: str, form: str) -> Any:
    """`reasoning`, `scores.csv`, or shares of several: `reasoning=0.8,ocr=0.2`."""
    from foveate.laws.frontier import Mixture
    from foveate.laws.law import fit_points
    from foveate.laws.points import FAMILIES, published, read_points

    parts = []
    for part in text.split(","):
        name, _, share = part.partition("=")
        points = published(name) if name in FAMILIES else read_points(Path(name))
        try:
            parts.append((float(share or 1), fit_points(points, form)))
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"a share is a number, as in reasoning=0.8, got {part!r}") from None
    return Mixture(tuple(parts))
