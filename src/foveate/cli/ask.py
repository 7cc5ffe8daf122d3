"""`foveate ask`: a question about pictures or a clip, answered."""

import sys
from os.path import isfile
from typing import Annotated, Any

import typer

from foveate.cli.console import (
    BudgetMachine,
    BudgetText,
    ClipFps,
    ClipFrames,
    Json,
    Keep,
    MethodName,
    OldMachine,
    Prune,
    Written,
    print_json,
    reduction_of,
    renamed,
)
from foveate.defaults import MAX_NEW_TOKENS, TASK
from foveate.errors import InputError


def ask(
    media: Annotated[
        list[str] | None, typer.Argument(help="Picture(s) or clip, then the question.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="foveate-mini, a folder, or a hub id.")
    ] = "foveate-mini",
    method: MethodName = None,
    keep: Keep = None,
    prune: Prune = None,
    written: Written = None,
    budget: BudgetText = None,
    task: Annotated[
        str, typer.Option(help="Of a budget: reasoning, ocr, or auto: the pictures are looked at.")
    ] = TASK,
    machine: BudgetMachine = None,
    hardware: OldMachine = None,
    frames: ClipFrames = None,
    fps: ClipFps = None,
    max_new_tokens: Annotated[int, typer.Option(help="Longest answer.")] = MAX_NEW_TOKENS,
    chat: Annotated[
        bool, typer.Option("--chat", help="Lines of stdin: a path shows a picture, others ask.")
    ] = False,
    most_visual_tokens: Annotated[
        int | None, typer.Option(help="Of --chat: visual tokens that stay in a layer's cache.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer a question about pictures or a clip; unreduced if no reduction or budget is named.

    What is not given is as the method has it in Python: --keep .25 is AIM(keep=.25), which prunes.
    """
    from foveate.ask.vlm import load

    given, reduction = media or [], reduction_of(written, method, keep, prune)
    if chat:
        if budget or as_json or given:
            raise InputError(
                "--chat reads pictures and questions from stdin, without --budget, --json"
            )
        _talk(load(model), reduction, most_visual_tokens, max_new_tokens, frames=frames, fps=fps)
        return
    if len(given) < 2:
        raise InputError(f"ask takes at least one picture and a question, got {given}")
    knobs: dict[str, Any] = {"frames": frames, "fps": fps, "task": task}
    knobs["machine"] = renamed("--machine", machine, "--hardware", hardware)
    answer = load(model).ask(given[:-1], given[-1], reduction, budget, max_new_tokens, **knobs)
    if as_json:
        print_json({"text": answer.text, "report": answer.report.to_dict()})
        return
    sys.stdout.write(answer.text + "\n")
    sys.stderr.write(answer.report.summary + "\n")


def _talk(vlm: Any, reduction: Any, most: int | None, max_new_tokens: int, **knobs: Any) -> None:
    """Answer stdin's lines, each as soon as it is there; pictures are shown with the next question."""
    from foveate.ask.conversation import Conversation

    talk, shown = Conversation(vlm, reduction, most), []
    for line in map(str.strip, sys.stdin):
        if isfile(line):
            shown.append(line)
        elif line:
            answer = talk.ask(shown, line, max_new_tokens, **knobs)
            shown = []
            sys.stdout.write(answer.text + "\n")
            sys.stdout.flush()
            sys.stderr.write(f"{answer.report.summary}; {talk.kv_bytes:,} bytes are cached\n")
