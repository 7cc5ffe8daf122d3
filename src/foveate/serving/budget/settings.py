"""What a budget middleware is told: by keywords, or by environment variables, as a server starts it."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foveate.cost.configs import read_config
from foveate.cost.hardware import hardware
from foveate.defaults import MACHINE
from foveate.errors import InputError
from foveate.keep import check_keep
from foveate.reduction import Reduction
from foveate.serving.asgi import MAX_BODY_BYTES
from foveate.serving.budget.body import reduction_of
from foveate.serving.budget.controller import LADDER
from foveate.serving.budget.estimate import Estimator
from foveate.serving.field import PREFIX
from foveate.serving.vllm.budget import refusal, servable

METHOD = "aim-merge"


@dataclass(frozen=True)
class Settings:
    """What to hold, for which model, on which machine.

    Attributes:
        ttft_ms: the time to the first token that is to be held; None reduces nothing.
        model: a folder with a config.json, that file, or a published model's name.
        calibration: a file of `foveate calibrate`, or a machine of foveate's table.
        method: before the LLM, with a `keep`.
        ladder: shares of visual tokens to choose from, falling from 1.
        processor_max_pixels: the image processor's limit, where the family has one and it was changed.
        max_body_bytes: of a request, as the guard's.

    Raises:
        InputError: a value that is none of these, or a target without a model.
    """

    ttft_ms: float | int | None = None
    model: str | None = None
    calibration: str = MACHINE
    method: str = METHOD
    ladder: Sequence[float | int] = LADDER
    processor_max_pixels: int | None = None
    max_body_bytes: int = MAX_BODY_BYTES

    def __post_init__(self) -> None:
        target = self.ttft_ms
        if target is not None and not (math.isfinite(target) and target > 0):
            raise InputError(f"ttft_ms must be milliseconds above 0, or unset, got {target}")
        if target is not None and self.model is None:
            raise InputError(
                "a time to the first token is predicted from the model's config: set model "
                f"({PREFIX}MODEL) to the model's folder or its config.json"
            )
        for name in ("max_body_bytes", "processor_max_pixels"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InputError(f"{name} must be at least 1, got {number}")
        for keep in self.ladder:
            check_keep(keep)
        shares = list(self.ladder)
        if shares != sorted(set(shares), reverse=True) or shares[:1] != [1.0]:
            raise InputError(f"ladder must be shares falling from 1.0, got {self.ladder}")
        self.reductions()

    def budget(self, keep: float | int) -> dict[str, Any] | None:
        """The budget of a share, as it is written into a request; None where all is kept."""
        return None if keep == 1 else {"method": self.method, "keep": keep}

    def reductions(self) -> list[Reduction]:
        """The reduction of each share of the ladder."""
        written = [self.budget(keep) for keep in self.ladder]
        made = [reduction_of(row) for row in written]
        if any(one.inside or one.encode for one in made):
            raise InputError(f"method must be one before the LLM, got {self.method!r}")
        return made

    def estimator(self) -> Estimator | None:
        """Of the model on the machine, None without a model.

        Raises:
            InputError: no such model, machine or file.
            UnsupportedError: a family whose visual tokens cannot be told from its config.
        """
        if self.model is None:
            return None
        config = read_config(self.model.removesuffix("config.json") or ".")
        return Estimator(config, hardware(self.calibration), self.processor_max_pixels)


def from_environment(given: Mapping[str, str] = os.environ) -> Settings:
    """The settings in FOVEATE_TTFT_MS, FOVEATE_MODEL, FOVEATE_CALIBRATION and so on.

    Args:
        given: the variables; an empty one counts as unset.

    Raises:
        InputError: a number that is none, or what `Settings` refuses.
    """
    read = {"ttft_ms": _number, "model": str, "calibration": str, "method": str,
            "ladder": _numbers, "processor_max_pixels": _whole,
            "max_body_bytes": _whole}  # fmt: skip
    found: dict[str, Any] = {}
    for name, reader in read.items():
        variable = PREFIX + name.upper()
        if text := given.get(variable, "").strip():
            try:
                found[name] = reader(text)
            except ValueError:
                raise InputError(f"{variable} must be {KINDS[name]}, got {text!r}") from None
    try:
        settings = Settings(**found)
    except InputError as error:
        raise InputError(f"{PREFIX}*: {error}") from None
    if why := _refusal(settings):
        raise InputError(
            f"{PREFIX}METHOD: vLLM cannot serve {settings.method!r}: {why}; works: "
            f"{', '.join(servable('before'))}"
        )
    return settings


def _refusal(settings: Settings) -> str:
    """Why vLLM, which is started by variables, could not serve what would be chosen; "" if it can."""
    return next(filter(None, map(refusal, settings.reductions()[1:])), "")


KINDS = {
    "ttft_ms": "milliseconds",
    "ladder": "shares with commas",
    "processor_max_pixels": "a whole number",
    "max_body_bytes": "a whole number",
}


def _number(text: str) -> float:
    return float(text)


def _whole(text: str) -> int:
    return int(text)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))
