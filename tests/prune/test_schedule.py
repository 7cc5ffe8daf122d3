from fractions import Fraction

import pytest

from foveate.errors import InputError
from foveate.prune.schedule import check_bounds, kept_after, linear, mean_share
from foveate.registry import method


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


def test_mean_share_is_counted_layer_by_layer():
    assert mean_share({}, 4) == 1
    assert mean_share({0: Fraction(1, 2), 2: Fraction(0)}, 4) == (1 + 0.5 + 0.5 + 0) / 4


@pytest.mark.parametrize("layers", [8, 28, 32])
@pytest.mark.parametrize("share", [0.5, 0.25, 0.125, 0.0625, 0.01])
@pytest.mark.parametrize("name", ["aim-prune", "fastv", "pyramiddrop", "sparsevlm", "vtw"])
def test_a_share_is_met_or_the_smallest_is_told(name, share, layers):
    build = method(name).build
    least = mean_share(build.candidates(layers)[0].schedule(layers), layers)
    if share < least - 0.005:
        with pytest.raises(InputError, match=f"smallest: {least:.4g}"):
            build.for_share(share, layers)
        return
    made = build.for_share(share, layers)
    step = 1 / layers  # schedules of whole layers can do no better than half of one
    assert abs(mean_share(made.schedule(layers), layers) - share) <= step / 2 + 0.005
