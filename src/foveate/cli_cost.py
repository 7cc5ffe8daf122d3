"""The commands about cost: cost, fit, calibrate; `foveate.cli` adds them to the others."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from foveate.defaults import ANSWER_TOKENS, KEEP, MACHINE, PRUNE, QUERY_TOKENS, TEXT_TOKENS
from foveate.errors import InputError
from foveate.shell import (
    Json,
    OldMachine,
    amount,
    check_out,
    method_knobs,
    parse_size,
    print_json,
    print_table,
    renamed,
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(cost)
    app.command()(fit)
    app.command()(calibrate)


def cost(
    model: Annotated[str, typer.Argument(help="A published model, foveate-mini, or a folder.")],
    images: Annotated[int, typer.Option(help="Pictures shown.")] = 1,
    frames: Annotated[int, typer.Option(help="Frames of a clip, instead of pictures.")] = 0,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of a picture or frame.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="The processor's limit a picture.")] = None,
    visual_tokens: Annotated[int | None, typer.Option(help="A count, instead of media.")] = None,
    text: Annotated[int, typer.Option(help="Text tokens of the prompt.")] = TEXT_TOKENS,
    answer: Annotated[int, typer.Option(help="Tokens of the answer.")] = ANSWER_TOKENS,
    keep: Annotated[
        float | None, typer.Option(help="Share of visual tokens kept, (0, 1]; 1 merges none.")
    ] = None,
    prune: Annotated[
        str | None, typer.Option(help="START,STOP as layers or shares of depth, or none.")
    ] = None,
    machine: Annotated[
        str | None, typer.Option(help=f"A name, cpu, or a calibration.json; default {MACHINE}.")
    ] = None,
    hardware: OldMachine = None,
    convention: Annotated[str, typer.Option(help="exact, or llm-viewer: AIM's tables.")] = "exact",
    as_json: Json = False,
) -> None:
    """What a request costs: FLOPs, KV cache, and time (a roofline, unless calibrated); no model runs.

    Without --keep and --prune unreduced; with one of them the other is as in foveate.AIM.
    """
    from foveate.cost.configs import read_config
    from foveate.cost.hardware import hardware as machine_named
    from foveate.cost.request import request_cost
    from foveate.cost.vision.encoder import Media

    on = machine_named(renamed("--machine", machine, "--hardware", hardware) or MACHINE)
    media: Any = visual_tokens
    if visual_tokens is None:
        media = Media(images, frames, *parse_size(size), max_pixels)
    config = read_config(model)
    knobs: dict[str, Any] = {"answer_tokens": answer, "convention": convention}
    full = request_cost(config, media, text, **knobs)
    told = method_knobs(keep, prune)
    aim: dict[str, Any] = {"keep": KEEP, "prune": PRUNE, **told} if told else {}
    cut = request_cost(config, media, text, **aim, **knobs)
    if as_json:
        more = {"model": model, "convention": convention, "hardware": asdict(cast(Any, on))}
        print_json({**more, **cost_document(cut, full, on)})
        return
    print_table(_cost_table(cut, full, on))
    sys.stdout.write(
        f"{cut.visual_tokens_in} visual tokens, {cut.visual_tokens_to_llm} to the LLM; KV cache "
        f"{cut.kv_bytes() / 2**20:.1f} of {full.kv_bytes() / 2**20:.1f} MiB; first token "
        f"{cut.first_token_ms(on):.2f} of {full.first_token_ms(on):.2f} ms\n"
    )


def _cost_table(cut: Any, full: Any, machine: Any) -> Table:
    table = Table("part", "FLOPs", "unreduced", f"ms on {machine.name}")
    for name in dict.fromkeys([*cut.parts, *full.parts]):
        now, before = (costs.parts.get(name) for costs in (cut, full))
        table.add_row(
            name,
            amount(now.flops if now else 0),
            amount(before.flops if before else 0),
            f"{now.ms(machine) if now else 0:.2f}",
        )
    table.add_section()
    table.add_row("all", amount(cut.flops), amount(full.flops), "")
    return table


def cost_document(cut: Any, full: Any, machine: Any) -> dict[str, Any]:
    """What `cost --json` prints of a request, reduced and not."""
    return {
        "text_tokens": cut.text_tokens,
        "visual_tokens_in": cut.visual_tokens_in,
        "visual_tokens_to_llm": cut.visual_tokens_to_llm,
        "visual_tokens_by_layer": cut.visual_tokens_by_layer,
        "flops": cut.flops,
        "flops_unreduced": full.flops,
        "kv_bytes": cut.kv_bytes(),
        "kv_bytes_unreduced": full.kv_bytes(),
        "first_token_ms": cut.first_token_ms(machine),
        "first_token_ms_unreduced": full.first_token_ms(machine),
        "parts": {
            name: {"flops": part.flops, "ms": part.ms(machine)} for name, part in cut.parts.items()
        },
    }


def fit(
    scores: Annotated[
        str,
        typer.Argument(help="CSV of params_b,visual_tokens,score; or reasoning, ocr: published."),
    ],
    form: Annotated[str, typer.Option(help="product, additive, or both.")] = "both",
    text: Annotated[float, typer.Option(help="Text tokens that count into T.")] = 0.0,
    figure: Annotated[Path | None, typer.Option(help="Draw error over FLOPs there.")] = None,
    query: Annotated[
        float, typer.Option(help="Uncached text tokens of the figure's axis.")
    ] = QUERY_TOKENS,
    as_json: Json = False,
) -> None:
    """Fit the scaling law to scores: parameters with intervals, and what they cannot tell."""
    from foveate.laws.figure import FORMATS, draw
    from foveate.laws.law import FORMS, fit_points, largest_held_out
    from foveate.laws.points import FAMILIES, published, read_points

    if figure is not None:
        check_out("--figure", figure, *FORMATS)
    points = published(scores) if scores in FAMILIES else read_points(Path(scores))
    laws = [fit_points(points, name, text) for name in (FORMS if form == "both" else (form,))]
    if figure is not None:
        draw(laws[0], figure, query)
        sys.stderr.write(f"Wrote {figure}.\n")
    if as_json:
        print_json([law_document(law) for law in laws])
        return
    for law in laws:
        columns = ("parameter", "value", "95 %, bootstrap", "95 %, over every floor that fits")
        table, profile = Table(*columns, title=f"{law.form}, T = {law.tokens}"), law.profile()
        for name, found in law.interval().items():
            value = law.alpha / law.beta if name == "alpha / beta" else getattr(law, name)
            ranges = (found, profile.get(name))
            cells = (f"{ends.low:.4f} to {ends.high:.4f}" if ends else "-" for ends in ranges)
            table.add_row(name, f"{value:.4f}", *cells)
        print_table(table)
        aicc = "-" if law.aicc is None else f"{law.aicc:.1f}"
        sys.stdout.write(
            f"{len(points.error)} points, squared error {law.sse:.3e}, rmse {law.rmse:.4f}, "
            f"AICc {aicc}\n{held_out_text(largest_held_out(points, law.form, text))}\n"
            "Not identifiable:\n"
        )
        sys.stdout.write("".join(f"- {note}\n" for note in law.unidentified()) + "\n")


def held_out_text(rows: list[dict[str, float | None]]) -> str:
    """How well the largest size was predicted from the others."""
    if not rows:
        return "The largest size cannot be held out: too few points are left"
    relative = [abs(row["relative"]) for row in rows if row["relative"] is not None]
    if not relative:
        return f"The largest size, {rows[0]['params_b']:g}B, made no error to compare with"
    worst = max(relative)
    return f"Fitted to smaller sizes, it predicts {rows[0]['params_b']:g}B within {worst:.2%}"


def law_document(law: Any) -> dict[str, Any]:
    """What `fit --json` prints of a law."""
    from foveate.laws.law import largest_held_out

    return {
        **{name: value for name, value in vars(law).items() if name != "points"},
        "tokens": law.tokens,
        "points": len(law.points.error),
        "rmse": law.rmse,
        "aicc": law.aicc,
        "interval": {name: asdict(found) for name, found in law.interval().items()},
        "largest_held_out": largest_held_out(law.points, law.form, law.text_tokens),
        "profile": {name: asdict(found) for name, found in law.profile().items()},
        "unidentified": law.unidentified(),
    }


def calibrate(
    out: Annotated[Path, typer.Option(help="Where the rates go.")] = Path("calibration.json"),
    repeats: Annotated[int, typer.Option(help="Runs a shape, after a warm-up.")] = 5,
    as_json: Json = False,
) -> None:
    """Measure this machine's prefill (a minute or two); then `--machine calibration.json`."""
    from foveate.cost import probe

    check_out("--out", out, ".json")
    if repeats < 1:
        raise InputError(f"--repeats must be at least 1, got {repeats}")

    def seen(shape: Any, ms: float) -> None:
        sys.stderr.write(f"width {shape.width}, {shape.rows} rows: {ms:.1f} ms\n")

    found = probe.calibrate(repeats=repeats, seen=seen)
    found.write(out)
    if as_json:
        print_json(asdict(found))
        return
    sys.stdout.write(
        f"Wrote {out}: {found.name}; {len(probe.HELD_OUT)} other shapes were foretold within "
        f"{found.median_error or 0:.1%} (median)\n"
    )
