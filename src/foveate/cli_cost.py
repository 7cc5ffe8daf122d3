"""The commands about cost and choice; `foveate.cli` adds them to the others."""

import sys
from typing import Annotated, Any

import typer
from rich.table import Table

from foveate.shell import Json, amount, parse_prune, parse_size, print_json, print_table


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(cost)


def cost(
    model: Annotated[str, typer.Argument(help="A published model, foveate-mini, or a folder.")],
    images: Annotated[int, typer.Option(help="Pictures shown.")] = 1,
    frames: Annotated[int, typer.Option(help="Frames of a clip, instead of pictures.")] = 0,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of a picture or frame.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="The processor's limit a picture.")] = None,
    visual_tokens: Annotated[int | None, typer.Option(help="A count, instead of media.")] = None,
    text: Annotated[int, typer.Option(help="Text tokens of the prompt.")] = 100,
    answer: Annotated[int, typer.Option(help="Tokens of the answer.")] = 1,
    keep: Annotated[float, typer.Option(help="Share of visual tokens kept, (0, 1].")] = 1.0,
    prune: Annotated[str, typer.Option(help="START,STOP as layers or shares of depth.")] = "none",
    hardware: Annotated[str, typer.Option(help="A known machine, or cpu: measured.")] = "a100",
    convention: Annotated[str, typer.Option(help="exact, or llm-viewer: AIM's tables.")] = "exact",
    as_json: Json = False,
) -> None:
    """What a request costs: FLOPs, KV cache, roofline time; nothing is loaded or run."""
    from foveate.measure.configs import read_config
    from foveate.measure.hardware import hardware as machine_named
    from foveate.measure.request import request_cost
    from foveate.measure.vision.encoder import Media

    machine = machine_named(hardware)
    media: Any = visual_tokens
    if visual_tokens is None:
        media = Media(images, frames, *parse_size(size), max_pixels)
    config = read_config(model)
    knobs: dict[str, Any] = {"answer_tokens": answer, "convention": convention}
    full = request_cost(config, media, text, **knobs)
    cut = request_cost(config, media, text, keep=keep, prune=parse_prune(prune), **knobs)
    if as_json:
        more = {"model": model, "convention": convention, "hardware": vars(machine)}
        print_json({**more, **cost_document(cut, full, machine)})
        return
    table = Table("part", "FLOPs", "unreduced", f"ms on {machine.name} (roofline)")
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
    print_table(table)
    sys.stdout.write(
        f"{cut.visual_tokens_in} visual tokens, {cut.visual_tokens_to_llm} to the LLM; KV cache "
        f"{cut.kv_bytes() / 2**20:.1f} of {full.kv_bytes() / 2**20:.1f} MiB; first token "
        f"{cut.first_token_ms(machine):.2f} of {full.first_token_ms(machine):.2f} ms\n"
    )


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
            name: {"flops": part.flops, "roofline_ms": part.ms(machine)}
            for name, part in cut.parts.items()
        },
    }
