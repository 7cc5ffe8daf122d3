"""`foveate serve`: a model behind OpenAI's API on this machine, without vLLM."""

import sys
from typing import Annotated

import typer

from foveate.cli.console import (
    BudgetMachine,
    ClipFps,
    ClipFrames,
    Keep,
    MethodName,
    Prune,
    Written,
    reduction_of,
)
from foveate.defaults import TASK
from foveate.errors import InputError


def serve(
    model: Annotated[str, typer.Argument(help="foveate-mini, a folder, or a hub id.")],
    method: MethodName = None,
    keep: Keep = None,
    prune: Prune = None,
    written: Written = None,
    budget: Annotated[
        str | None, typer.Option(help='Instead: "25%", "15 TFLOP", "120 MB", "60 ms".')
    ] = None,
    task: Annotated[str, typer.Option(help="Of a budget: reasoning or ocr.")] = TASK,
    machine: BudgetMachine = None,
    frames: ClipFrames = None,
    fps: ClipFps = None,
    name: Annotated[str | None, typer.Option(help="What clients call it; MODEL.")] = None,
    host: Annotated[
        str, typer.Option(help="Where it listens; others than this machine need --api-key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="FOVEATE_API_KEY", help="Clients send it as a bearer token."),
    ] = None,
) -> None:
    """Serve a model with fewer visual tokens; each request may ask for its own reduction or budget.

    Without a reduction or budget here, a request that asks for none is answered unreduced.
    """
    from foveate.ask.media import Sampling
    from foveate.ask.vlm import load
    from foveate.planner.budget import Budget
    from foveate.reduction import Reduction
    from foveate.serving.server import listen, run, served
    from foveate.serving.setting import Setting

    if api_key is not None and (not api_key or api_key != api_key.strip()):
        raise InputError("--api-key is empty or has spaces around it, which no header can carry")
    reduction = reduction_of(written, method, keep, prune)
    given = None if budget is None else Budget.of(budget)
    default, sampling = Setting(reduction or Reduction(), given, task), Sampling(frames, fps)
    line = listen(host, port, api_key)
    app = served(load(model), name or model, default, sampling, machine, key=api_key)
    sys.stderr.write(f"foveate: {name or model} at {_address(line.getsockname())}; {default}\n")
    run(app, line)


def _address(at: tuple) -> str:
    host, port = at[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
