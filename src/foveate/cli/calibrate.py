"""`foveate calibrate`: measure this machine, to give times for it."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from foveate.cli.console import Json, check_out, print_json
from foveate.errors import InputError


def calibrate(
    out: Annotated[Path, typer.Option(help="Where the rates go.")] = Path("calibration.json"),
    repeats: Annotated[int, typer.Option(help="Runs a shape, after a warm-up.")] = 5,
    as_json: Json = False,
) -> None:
    """Measure this machine's prefill (a minute or two); then `--machine calibration.json`."""
    from foveate.cost import timed_layers

    check_out("--out", out, ".json")
    if repeats < 1:
        raise InputError(f"--repeats must be at least 1, got {repeats}")

    def show(shape: Any, ms: float) -> None:
        sys.stderr.write(f"width {shape.width}, {shape.rows} rows: {ms:.1f} ms\n")

    found = timed_layers.calibrate(repeats=repeats, progress=show)
    found.write(out)
    if as_json:
        print_json(asdict(found))
        return
    sys.stdout.write(
        f"Wrote {out}: {found.name}; {len(timed_layers.HELD_OUT)} other shapes were predicted within "
        f"{found.median_error or 0:.1%} (median)\n"
    )
