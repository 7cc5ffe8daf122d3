"""`foveate cost`: what a request costs, without running a model."""

import sys
from dataclasses import asdict
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from foveate.cli.console import (
    Json,
    Keep,
    MethodName,
    OldMachine,
    Prune,
    Written,
    amount,
    parse_size,
    print_json,
    print_table,
    reduction_of,
    renamed,
)
from foveate.defaults import ANSWER_TOKENS, MACHINE, TEXT_TOKENS


def cost(
    model: Annotated[str, typer.Argument(help="A published model, foveate-mini, or a folder.")],
    images: Annotated[int, typer.Option(help="Pictures shown.")] = 1,
    frames: Annotated[int, typer.Option(help="Frames of a clip, instead of pictures.")] = 0,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of a picture or frame.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="The processor's limit a picture.")] = None,
    visual_tokens: Annotated[int | None, typer.Option(help="A count, instead of media.")] = None,
    text: Annotated[int, typer.Option(help="Text tokens of the prompt.")] = TEXT_TOKENS,
    answer: Annotated[int, typer.Option(help="Tokens of the answer.")] = ANSWER_TOKENS,
    method: MethodName = None,
    keep: Keep = None,
    prune: Prune = None,
    written: Written = None,
    machine: Annotated[
        str | None, typer.Option(help=f"A name, cpu, or a calibration.json; default {MACHINE}.")
    ] = None,
    hardware: OldMachine = None,
    convention: Annotated[str, typer.Option(help="exact, or llm-viewer: AIM's tables.")] = "exact",
    as_json: Json = False,
) -> None:
    """What a request costs: FLOPs, KV cache, and time (a roofline, unless calibrated); no model runs.

    Without --method, --keep, --prune and --reduction unreduced; what is not given is as in Python.
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
    cut = request_cost(config, media, text, reduction_of(written, method, keep, prune), **knobs)
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
