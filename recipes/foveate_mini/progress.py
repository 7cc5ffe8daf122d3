"""How far a training run is: a line on stderr for a person, a JSON line for a program."""

import json
import sys
import time
from pathlib import Path


class Progress:
    """Reports how far a run is; the time left is from this process's own steps, also if resumed."""

    def __init__(
        self, name: str, log: Path, first_step: int, steps: int, seconds_before: float = 0.0
    ) -> None:
        self.name, self.log, self.first_step, self.steps = name, log, first_step, steps
        self.seconds_before = seconds_before
        self.started = time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, over all processes that worked on it."""
        return self.seconds_before + time.monotonic() - self.started

    def report(self, step: int, **values: float | dict) -> None:
        """Say that `step` steps are done, and `values`."""
        seconds = time.monotonic() - self.started
        step_seconds = seconds / max(step - self.first_step, 1)
        left_minutes = step_seconds * (self.steps - step) / 60
        record = {"stage": self.name, "step": step, "seconds": round(self.seconds), **values}
        with open(self.log, "a") as file:
            file.write(json.dumps(record) + "\n")
        shown = "  ".join(f"{key} {value}" for key, value in values.items())
        line = f"{self.name} {step}/{self.steps}  {left_minutes:.1f} min left  {shown}"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
