"""`foveate measure` as one call: a model's answers under every method and share, kept in a file."""

from collections.abc import Callable, Sequence
from pathlib import Path

from foveate.defaults import SHARES, TASKS
from foveate.measure.run.engines import engine as engine_named
from foveate.measure.run.runner import Amount, Runner
from foveate.measure.run.settings import settings
from foveate.measure.tasks import task


def measure(
    model: str,
    out: Path | str,
    methods: Sequence[str] = ("all",),
    shares: Sequence[float | int] = SHARES,
    tasks: Sequence[str] = TASKS,
    amount: Amount | None = None,
    *,
    engine: str = "local",
    device: str | None = None,
    threads: int | None = None,
    actors: int | None = None,
    run: Callable[[Runner], None] = Runner.run,
) -> Path:
    """Ask a model every question under every method and share; goes on where a killed run was.

    Args:
        model: foveate-mini, a folder, or a hub id.
        out: the JSON Lines file of records.
        methods: names of `foveate.methods()`, "resize" for smaller pictures, or "all".
        shares: of visual tokens, mean over the LLM's layers, in (0, 1).
        tasks: "reasoning", "ocr", "video", or .jsonl files in LLaVA's format.
        amount: how many questions, and how often they are timed.
        engine: "local": in this process; "ray": on several actors.
        device: default the GPU if there is one.
        threads: CPU threads; None leaves them as they are.
        actors: workers of "ray"; None for one for each GPU.
        run: runs what is left, by default without a word; the command shows a bar.

    Returns:
        The file, for `foveate.plan(measured=...)` and `foveate report`.

    Raises:
        InputError: an unknown model, method, task or engine, a share or count out of range, or a file of
            another model, of other questions or other knobs.
    """
    questions = [task(name) for name in tasks]
    with engine_named(engine).start(model, device, threads, actors) as answering:
        chosen = settings(methods, shares, answering.identity()["layers"])
        run(Runner(answering, chosen, questions, Path(out), amount or Amount()))
    return Path(out)
