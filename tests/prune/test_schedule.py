from fractions import Fraction

import pytest

from foveate.errors import InputError
from foveate.prune.schedule import check_bounds, kept_after, linear


def test_published_schedule():
    schedule = linear((14, 22), 28)
    assert schedule == {14 + step: Fraction(7 - step, 8) for step in range(8)}
    assert [kept_after(share, 1568) for share in schedule.values()] == [
        1372, 1176, 980, 784, 588, 392, 196, 0,
    ]  # fmt: skip


def test_shares_of_depth_are_the_published_layers():
    assert linear((0.5, 0.786), 28) == linear((14, 22), 28)
    assert list(linear((0.5, 0.786), 8)) == [4, 5]


def test_counts_do_not_depend_on_float_bits():
    for steps in range(1, 12):
        for layer, share in linear((0, steps), 12).items():
            assert kept_after(share, 3 * steps) == 3 * (steps - layer - 1)


@pytest.mark.parametrize(
    "prune", [5, (1,), (1, 2, 3), "ab", (True, 3), (-1, 4), (0.5, 1.5), (float("nan"), 0.5), (4, 2)]
)
def test_impossible_bounds_are_refused(prune):
    with pytest.raises(InputError, match="prun"):
        check_bounds(prune)


@pytest.mark.parametrize("prune", [(28, 29), (14, 29), (3, 0.01), (0.5, 0.51)])
def test_bounds_out_of_this_model_are_refused(prune):
    with pytest.raises(InputError, match="28"):
        linear(prune, 28)
