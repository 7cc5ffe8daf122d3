"""HoliTom against a twin that tries every cut, and by hand."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from foveate.compress.fastvid import density_peaks
from foveate.compress.holitom import HoliTom, merged_over_time, windows
from foveate.tokens import VisionTokens


def drawn(clips: int, frames: int, length: int):
    """Clips whose places move more the later they are, with a cut in the middle."""
    source = torch.Generator().manual_seed(frames * length)
    base = torch.randn(clips, 2, length, 12, generator=source)
    noise = torch.randn(clips, frames, length, 12, generator=source)
    moves = torch.linspace(0, 1, length)[:, None]
    scene = torch.arange(frames) * 2 // frames
    features = base[:, scene] + moves * noise
    return features.flatten(1, 2), torch.rand(clips, frames * length, generator=source)


def spared(still: torch.Tensor, low: int, high: int) -> int:
    """Tokens that a window spares."""
    alike = [all(bool(still[f, k]) for f in range(low, high - 1)) for k in range(still.shape[1])]
    return sum(alike) * (high - low - 1) if high - low > 1 else 0


def best_cut(still: torch.Tensor) -> int:
    """The most that any cut spares, of all that there are."""
    frames, most = len(still) + 1, 0
    for cuts in itertools.product([False, True], repeat=frames - 1):
        ends = [0, *(f + 1 for f in range(frames - 1) if cuts[f]), frames]
        most = max(most, sum(spared(still, *pair) for pair in itertools.pairwise(ends)))
    return most


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("frames", [1, 2, 5, 9])
def test_no_cut_spares_more(seed, frames):
    source = torch.Generator().manual_seed(seed)
    still = torch.rand(frames - 1, 7, generator=source) < 0.3 + 0.1 * seed
    cut, most = windows(still)
    assert most == best_cut(still) == sum(spared(still, low, high) for low, high in cut)
    assert [frame for low, high in cut for frame in range(low, high)] == list(range(frames))


def twin(clip, attention, frames, keep, tau):
    """For each token of a clip where it goes, -1 if nowhere, and the rows that stay."""
    length, count = len(clip) // frames, math.ceil(keep * len(clip) - 1e-9)
    pictures = clip.unflatten(0, (frames, length))
    similar = torch.empty(frames - 1, length)
    for f, k in itertools.product(range(frames - 1), range(length)):
        similar[f, k] = F.cosine_similarity(pictures[f, k], pictures[f + 1, k], dim=0)
    while len(clip) - best_cut(similar > tau) < count:
        tau = float(similar[similar > tau].min())
    home, units = {}, {}
    for low, high in windows(similar > tau)[0]:
        for k in range(length):
            if high - low > 1 and all(similar[f, k] > tau for f in range(low, high - 1)):
                home.update({f * length + k: low * length + k for f in range(low, high)})
                units.setdefault((1, low), []).append(low * length + k)
            else:
                for f in range(low, high):
                    home[f * length + k] = f * length + k
                    units.setdefault((0, f), []).append(f * length + k)
    row = {r: torch.stack([clip[t] for t in home if home[t] == r]).mean(0) for r in home.values()}
    total = sum(map(len, units.values()))
    wanted = {u: len(own) * count / total for u, own in units.items()}
    given = dict.fromkeys(sorted(units), 0)
    for _ in range(count):
        poor = [u for u in given if not given[u]] or list(given)
        given[max(poor, key=lambda u: wanted[u] - given[u])] += 1
    goes = {}
    for (is_still, _), own in units.items():
        quota = given[(is_still, _)]
        if not is_still:
            best = sorted(own, key=lambda t: -float(attention[t]))[:quota]
            goes.update({t: t if t in best else -1 for t in own})
        elif quota:
            rows = torch.stack([row[t] for t in own])
            peaks = density_peaks(rows, quota, near=min(7, quota)).tolist()
            for n, t in enumerate(own):
                near = min(peaks, key=lambda p: float((rows[p] - rows[n]).norm()))
                goes[t] = own[n if n in peaks else near]
        else:
            goes.update(dict.fromkeys(own, -1))
    merged = {
        t: torch.stack([row[r] for r in row if goes[r] == t]).mean(0) for t in row if goes[t] == t
    }
    return [goes[home[t]] for t in range(len(clip))], merged


@pytest.mark.parametrize(("frames", "length"), [(1, 12), (4, 9), (7, 6)])
@pytest.mark.parametrize("keep", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("still", [0.8, 0.3, -1.0])
def test_a_clip_is_the_twins(frames, length, keep, still):
    features, attention = drawn(2, frames, length)
    tokens = HoliTom(keep, still)(features, attention=attention, frames=frames)
    assert tokens.features.shape[1] == HoliTom(keep).kept(frames * length, frames=frames)
    for number, clip in enumerate(features):
        goes, merged = twin(clip, attention[number], frames, keep, still)
        position = tokens.position[number].tolist()
        assert position == sorted(merged)
        source = [position[row] if row >= 0 else -1 for row in tokens.source[number].tolist()]
        assert source == goes
        for row, place in enumerate(position):
            torch.testing.assert_close(tokens.features[number, row], merged[place])


def test_what_stands_still_becomes_one_in_the_first_frame():
    similar = torch.tensor([[0.9, 0.1, 0.7], [0.9, 0.1, 0.1], [0.1, 0.1, 0.1]])
    home, unit = merged_over_time(similar, 0.8, 1)
    assert home.tolist() == [0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 10, 11]
    assert unit.tolist() == [4, 0, 0, 4, 1, 1, 4, 2, 2, 3, 3, 3]


def test_tau_rises_where_too_little_would_be_left():
    similar = torch.tensor([[0.9, 0.95, 0.97, 0.99]])
    for least, left in ((1, 4), (4, 4), (5, 5), (7, 7), (8, 8)):
        home, _ = merged_over_time(similar, 0.8, least)
        assert len(home.unique()) == left
    assert merged_over_time(similar, 0.8, 7)[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 3]


def test_a_clip_that_stands_still_meets_its_budget():
    clip = torch.randn(1, 1, 10, 8, generator=torch.Generator().manual_seed(0)).repeat(1, 5, 1, 1)
    tokens = HoliTom(0.5)(clip.flatten(1, 2), attention=torch.rand(1, 50), frames=5)
    assert tokens.features.shape[1] == 25
    tokens = HoliTom(0.2)(clip.flatten(1, 2), attention=torch.rand(1, 50), frames=5)
    assert tokens.position.tolist() == [list(range(10))]
    assert tokens.size.tolist() == [[5] * 10]
    torch.testing.assert_close(tokens.features[0], clip[0, 0])


def test_a_batch_is_its_clips_alone_and_keeps_the_order():
    features, attention = drawn(3, 4, 10)
    whole = HoliTom(0.3)(features, attention=attention, frames=4)
    assert (whole.position.diff(dim=1) > 0).all()
    for number in range(3):
        given = features[number][None], attention[number][None]
        alone = HoliTom(0.3)(given[0], attention=given[1], frames=4)
        for name in VisionTokens.__dataclass_fields__:
            assert torch.equal(getattr(whole, name)[number], getattr(alone, name)[0])
