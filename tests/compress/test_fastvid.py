import pytest
import torch
import torch.nn.functional as F

from foveate.compress.fastvid import FastVID, density_peaks
from foveate.errors import InputError


def test_a_clip_is_cut_where_frames_differ():
    frames = torch.tensor([[1.0, 0], [1, 0.01], [0, 1], [0.01, 1], [0, 1], [1, 0]])
    assert FastVID(segments=1).cuts(frames) == [(0, 2), (2, 5), (5, 6)]
    alike = torch.tensor([[1.0, 0], [1, 0.2], [1, 0.21], [1, 0.3]])
    assert FastVID(segments=1).cuts(alike) == [(0, 4)]
    assert FastVID(segments=2).cuts(alike) == [(0, 1), (1, 4)]  # at the least similar pair
    assert FastVID(segments=8).cuts(alike) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert FastVID().cuts(alike[:1]) == [(0, 1)]


def test_peaks_are_the_middles_of_heaps():
    # two heaps on a line, and one token far from all
    line = torch.tensor([0.0, 0.11, 0.2, 0.3, 5.0, 5.12, 5.2, 5.3, 9.0])[:, None]
    assert sorted(density_peaks(line, 2).tolist()) == [1, 5]


def test_the_budget_is_spent_over_a_segment():
    source = torch.Generator().manual_seed(0)
    base = F.normalize(torch.randn(1, 1, 9, 32, generator=source), dim=-1)
    noise = 0.05 * torch.randn(2, 8, 9, 32, generator=source)
    features = (base + noise).flatten(1, 2)
    attention = torch.rand(2, 72, generator=source)
    tokens = FastVID(0.25, segments=2, alike=0.5)(features, attention=attention, frames=8)
    assert tokens.features.shape == (2, 24, 32)  # 8 frames of ceil(9 / 4)
    told = tokens.source >= 0
    assert told.all()  # everything is merged into something
    assert tokens.size.sum(1).tolist() == [72, 72]
    # most tokens of a segment go to the peak that shows the same place: merging crosses frames
    frame = torch.arange(72) // 9
    crossing = [len(frame[tokens.source[0] == token].unique()) for token in range(24)]
    assert max(crossing) > 2


# a heap on each axis; its second token is its middle
HEIGHTS = [0.0, 0.1, 0.22, 0.3]
HEAPS = torch.tensor([[4, y] for y in HEIGHTS] + [[x, 4] for x in HEIGHTS])


def test_three_of_five_are_the_most_attended_and_two_are_peaks():
    features = torch.cat([torch.tensor([[9.0, 1], [7, 7], [1, 9]]), HEAPS])[None]
    attention = torch.tensor([[0.9, 0.8, 0.7, 0, 0, 0.1, 0, 0, 0, 0, 0.1]])
    tokens = FastVID(5 / 11)(features, attention=attention, frames=1)
    assert tokens.position.tolist() == [[0, 1, 2, 4, 8]]
    assert tokens.source.tolist() == [[0, 1, 2, 3, 3, 3, 3, 4, 4, 4, 4]]
    assert torch.equal(tokens.features[0, :3], features[0, :3])
    across = 0.6 * 0.1 + 0.4 * 0.62 / 4  # itself, and the mean of its heap
    expected = torch.tensor([[4, across], [across, 4]])
    torch.testing.assert_close(tokens.features[0, 3:], expected)


def test_attention_chooses_before_density_does():
    attention = torch.tensor([[0.0, 1, 0, 0, 0, 0, 0, 0]])
    tokens = FastVID(3 / 8, peaks=0.7)(HEAPS[None], attention=attention, frames=1)
    # token 1 is taken: the nearest to the other heap is the densest of the three that are left of its own
    assert tokens.position.tolist() == [[1, 3, 5]]
    assert torch.equal(tokens.features[0, 0], HEAPS[1])
    across = 0.6 * 0.3 + 0.4 * (0.0 + 0.22 + 0.3) / 3
    torch.testing.assert_close(tokens.features[0, 1], torch.tensor([4, across]))


@pytest.mark.parametrize(
    ("frames", "kept", "expected"),
    [
        (1, 1, {0: 1}),
        (6, 1, {1: 3, 5: 3}),  # every fourth, counted from the last
        (7, 1, {2: 3, 6: 4}),  # what is left over goes to the last
        (6, 3, {1: 6, 3: 6, 5: 6}),  # 12 peaks do not fit into a frame of 8 tokens
        (3, 8, {0: 8, 1: 8, 2: 8}),
    ],
)
def test_peaks_are_of_anchor_frames(frames, kept, expected):
    features = torch.randn(1, frames * 8, 4, generator=torch.Generator().manual_seed(0))
    method = FastVID(kept / 8, segments=1, alike=-1.0, peaks=1.0)
    tokens = method(features, attention=torch.rand(1, frames * 8), frames=frames)
    frame, count = (tokens.position[0] // 8).unique(return_counts=True)
    assert dict(zip(frame.tolist(), count.tolist(), strict=True)) == expected


def test_each_anchor_takes_in_the_whole_segment():
    features = torch.tensor([[[1.0, 0], [0, 2], [3, 0], [0, 2]]])
    method = FastVID(0.5, segments=1, alike=-1.0, peaks=1.0, every=1)
    tokens = method(features, attention=torch.zeros(1, 4), frames=2)
    # density ties, the first of a frame is its peak; the mean of all four tokens is (1, 1)
    assert tokens.position.tolist() == [[0, 2]]
    expected = torch.tensor([[[0.6 + 0.4, 0.4], [0.6 * 3 + 0.4, 0.4]]])
    torch.testing.assert_close(tokens.features, expected)
    assert tokens.source.tolist() == [[0, 1, 1, 1]]  # as like to both: told of the last frame's


def test_density_is_of_features_as_they_are():
    # of one direction: as unit rows all the same, as they are two heaps
    line = torch.tensor([1.0, 1.1, 1.22, 1.3, 9.0, 9.12, 9.2, 9.3])[None, :, None].expand(-1, -1, 3)
    tokens = FastVID(2 / 8, peaks=1.0)(line, attention=torch.zeros(1, 8), frames=1)
    assert tokens.position.tolist() == [[1, 5]]


def test_where_no_peak_is_due_the_rest_is_dropped():
    attention = torch.tensor([[0.0, 0, 0, 0, 0, 0, 1, 0]])
    tokens = FastVID(1 / 8)(HEAPS[None], attention=attention, frames=1)
    assert tokens.source.tolist() == [[-1, -1, -1, -1, -1, -1, 0, -1]]


def test_a_picture_is_a_clip_of_one_frame():
    tokens = FastVID(0.3)(torch.randn(1, 20, 4), attention=torch.rand(1, 20), frames=1)
    assert tokens.features.shape[1] == 6


def test_bad_knobs_are_refused():
    with pytest.raises(InputError, match="segments must be at least 1, got 0"):
        FastVID(segments=0)
    with pytest.raises(InputError, match=r"peaks must be a share in \[0, 1\], got 2.0"):
        FastVID(peaks=2.0)
