"""Which patches of a clip changed: against the last one encoded, with a threshold, grown, refreshed."""

import pytest
import torch

import foveate
from foveate.encode.reuse import Reuse
from foveate.errors import InputError

GRID = 4, 5


def clip(*frames):
    """Frames of 4 x 5 patches of 3 numbers, all 0 but the patches of these places and values."""
    patches = torch.zeros(len(frames), 20, 3)
    for frame, values in enumerate(frames):
        for place, value in values.items():
            patches[frame, place, 1] = value
    return patches


def twin(patches, threshold, std, grow, refresh):
    """The same in plain loops over numbers."""
    frames, count, _ = patches.shape
    rows, columns = GRID
    source, last = [[0] * count], [patches[0, place].tolist() for place in range(count)]
    for frame in range(1, frames):
        changed = set()
        for place in range(count):
            pairs = zip(patches[frame, place].tolist(), last[place], strict=True)
            levels = [abs(a - b) * std * 255 for a, b in pairs]
            if max(levels) > threshold:
                row, column = divmod(place, columns)
                changed |= {
                    r * columns + c
                    for r in range(row - grow, row + grow + 1)
                    for c in range(column - grow, column + grow + 1)
                    if 0 <= r < rows and 0 <= c < columns
                }
        if refresh and frame % refresh == 0:
            changed = set(range(count))
        for place in changed:
            last[place] = patches[frame, place].tolist()
        source.append([frame if p in changed else source[-1][p] for p in range(count)])
    return source


@pytest.mark.parametrize("threshold", [0, 20])
@pytest.mark.parametrize("grow", [0, 1, 2])
@pytest.mark.parametrize("refresh", [0, 1, 3])
def test_it_is_its_twin(threshold, grow, refresh):
    draw = torch.Generator().manual_seed(threshold + grow)
    patches = torch.randn(8, 20, 3, generator=draw).mul(0.1).cumsum(0)
    for frame in range(1, 8):  # most of a frame is as before
        still = torch.rand(20, generator=draw) < 0.8
        patches[frame, still] = patches[frame - 1, still]
    found = Reuse(threshold=threshold, grow=grow, refresh=refresh).sources(patches, GRID)
    assert found.tolist() == twin(patches, threshold, 0.5, grow, refresh)


def test_slow_change_adds_up():
    """Half a grey level a frame is noticed in every third one: compared with what was encoded last."""
    level = 1 / (255 * 0.5)
    fading = clip(*({7: 0.5 * level * n} for n in range(7)))
    source = Reuse(threshold=1).sources(fading, GRID)
    assert source[:, 7].tolist() == [0, 0, 0, 3, 3, 3, 6]
    assert source[:, 6].unique().tolist() == [0]


def test_what_goes_and_comes_back_is_encoded_again():
    source = Reuse().sources(clip({}, {3: 1.0}, {}, {}), GRID)
    assert source[:, 3].tolist() == [0, 1, 2, 2]


def test_the_threshold_is_in_grey_levels_of_the_processor():
    patches = clip({}, {2: 10 / 255 / 0.25})  # ten levels, divided by a std of 0.25
    assert Reuse(threshold=9.9, std=0.25).sources(patches, GRID)[1, 2] == 1
    assert Reuse(threshold=10.1, std=0.25).sources(patches, GRID)[1, 2] == 0
    assert Reuse(threshold=10.1, std=0.5).sources(patches, GRID)[1, 2] == 1


def test_knobs_are_checked():
    for knobs in ({"threshold": -1}, {"grow": -1}, {"refresh": -2}, {"std": 0}):
        with pytest.raises(InputError, match=next(iter(knobs))):
            Reuse(**knobs)
    assert foveate.create("reuse", grow=1) == foveate.Reduction(encode=Reuse(grow=1))
