"""How well a law predicts what it was not fitted to: a size, a count of tokens, a count of frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foveate.errors import InputError
from foveate.laws.law import fit_points
from foveate.laws.points import Number, Points

Row = dict[str, Any]


@dataclass(frozen=True)
class HeldOut:
    """One value of one axis, predicted from the points that have another.

    Attributes:
        axis: "params_b", "visual_tokens" or "frames".
        value: the one held out.
        extrapolated: whether it lies outside the values fitted to.
        worst: largest relative error in size; None where no measured error is above 0.
        rows: the points, each with its prediction.
    """

    axis: str
    value: float
    extrapolated: bool
    worst: float | None
    rows: tuple[Row, ...]


def held_out(points: Points, form: str = "product", text_tokens: Number = 0.0) -> list[HeldOut]:
    """Hold out the largest, the middle and the smallest value of each axis, one at a time.

    The largest and the smallest are extrapolated, the middle one is not. Values without which the points
    are too few for the law are left out.
    """
    found = []
    for axis, values in points.axes.items():
        distinct = sorted(set(values))
        for value in dict.fromkeys((distinct[-1], distinct[len(distinct) // 2], distinct[0])):
            try:
                rows = hold_out(points, [other != value for other in values], form, text_tokens)
            except InputError:
                continue
            outside = value in (distinct[0], distinct[-1])
            relative = [abs(row["relative"]) for row in rows if row["relative"] is not None]
            worst = max(relative, default=None)
            found.append(HeldOut(axis, value, outside, worst, tuple(rows)))
    return found


def largest_held_out(points: Points, form: str = "product", text_tokens: Number = 0.0) -> list[Row]:
    """Predict the largest size from the smaller ones; nothing where those are too few for a law."""
    kept = [size < max(points.params_b) for size in points.params_b]
    try:
        return hold_out(points, kept, form, text_tokens)
    except InputError:
        return []


def hold_out(
    points: Points, kept: Sequence[bool], form: str = "product", text_tokens: Number = 0.0
) -> list[Row]:
    """Fit to the kept points and predict the others.

    Returns:
        A row for each, with its relative error, None where the measured error is 0, and whether the
        prediction is extrapolated.

    Raises:
        InputError: too few points are kept, as in `fit_law`.
    """
    law = fit_points(points.where(kept), form, text_tokens)
    rows = []
    for cell, error, inside in zip(points.cells, points.error, kept, strict=True):
        if not inside:
            guess = law.predict(*cell)
            row: Row = dict(zip(points.axes, cell, strict=True))
            relative = (guess - error) / error if error else None
            row |= {"error": error, "predicted": guess, "relative": relative}
            rows.append({**row, "extrapolated": not law.covers(*cell)})
    return rows
