"""What `foveate analyze` suggests for a model: where a plan for it starts."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from foveate.errors import InputError
from foveate.keep import check_keep


@runtime_checkable
class Suggests(Protocol):
    """A schedule that an analysis suggests: an analysis, or what was read of one."""

    @property
    def layers(self) -> int:
        """Depth of the LLM."""
        ...

    @property
    def keep(self) -> float:
        """Share of visual tokens to merge to."""
        ...

    @property
    def prune(self) -> tuple[int, int] | None:
        """Start and stop layer, None for no pruning."""
        ...


@dataclass(frozen=True)
class Suggestion:
    """The schedule of an analysis.

    Attributes:
        layers: depth of the LLM.
        keep: share of visual tokens to merge to.
        prune: start and stop layer, None for no pruning.

    Raises:
        InputError: a share or layers out of range.
    """

    layers: int
    keep: float
    prune: tuple[int, int] | None

    def __post_init__(self) -> None:
        check_keep(self.keep)
        if self.prune is not None and not 0 <= self.prune[0] < self.prune[1] <= self.layers:
            raise InputError(f"prune must be two layers of {self.layers}, got {self.prune}")


def read_analysis(analysis: Suggests | Path | str) -> Suggests:
    """The suggestion in what `foveate analyze --out` wrote, or printed with --json.

    Args:
        analysis: the file; a suggestion is handed on as it is.

    Raises:
        InputError: no such file, or not of that form.
    """
    if not isinstance(analysis, Path | str):
        return analysis
    path = Path(analysis)
    try:
        row = json.loads(path.read_text())
        prune = row["prune"] and (int(row["prune"][0]), int(row["prune"][1]))
        return Suggestion(int(row["layers"]), float(row["keep"]), prune)
    except OSError as error:
        raise InputError(f"cannot read the analysis {path}: {error}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not the JSON of foveate analyze: {error}") from None
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{path} must hold layers, keep and prune of an analysis: {error!r}"
        ) from None
