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


def test_own_weight():
    # one segment of two frames of two tokens; the peak takes in its twin
    features = torch.tensor([[[1.0, 0], [0, 2], [3, 0], [0, 2]]])
    attention = torch.tensor([[0.0, 0, 0, 1]])
    method = FastVID(0.5, segments=1, attended=0.5, own=0.6, alike=-1.0)
    tokens = method(features, attention=attention, frames=2)
    # the peak is token 0 (a tie of density, the first wins), token 3 stays for its attention
    assert tokens.position.tolist() == [[0, 3]]
    rest = (features[0, 1] + features[0, 2]) / 2
    torch.testing.assert_close(tokens.features[0, 0], 0.6 * features[0, 0] + 0.4 * rest)
    assert tokens.features[0, 1].tolist() == [0, 2]


def test_a_picture_is_a_clip_of_one_frame():
    tokens = FastVID(0.3)(torch.randn(1, 20, 4), attention=torch.rand(1, 20), frames=1)
    assert tokens.features.shape[1] == 6


def test_bad_knobs_are_refused():
    with pytest.raises(InputError, match="segments and every must be at least 1, got 0 and 4"):
        FastVID(segments=0)
    with pytest.raises(InputError, match=r"shares in \[0, 1\], got 2.0 and 0.6"):
        FastVID(attended=2.0)
