"""FlashVID against a twin that goes token by token, and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from foveate.compress.fastvid import FastVID, density_peaks
from foveate.compress.flashvid import FlashVID, informative, peaks_of, trees
from foveate.errors import InputError
from foveate.tokens import VisionTokens


def drawn(clips: int, frames: int, length: int, noise: float = 0.4):
    source = torch.Generator().manual_seed(frames * length)
    base = torch.randn(1, 1, length, 16, generator=source) + 1
    features = base + noise * torch.randn(clips, frames, length, 16, generator=source)
    return features.flatten(1, 2), torch.rand(clips, frames * length, generator=source)


def calibrated(frame, attention, mean, count):
    """Algorithm 3 in plain loops."""
    many = range(len(frame))
    worth = [float(attention[i] * (frame[i] @ mean)) for i in many]
    apart = [
        [float(1 - F.cosine_similarity(frame[i], frame[j], dim=0)) * worth[i] for j in many]
        for i in many
    ]
    chosen = []
    while len(chosen) < count:
        rest = [i for i in many if i not in chosen]
        near = {i: min((apart[i][j] for j in chosen or rest if j != i), default=0) for i in rest}
        chosen.append(max(rest, key=lambda i: near[i]))
    return sorted(chosen)


def twin(segment, attention, share, chosen, link):
    """For each token of a segment (F, M, D) the token that it goes to, -1 if to none."""
    frames, length, _ = segment.shape
    stay = math.ceil(chosen * share - 1e-9)
    merged = frames * (share - stay)
    mean = segment.flatten(0, 1).mean(0)
    goes = {}
    for f in range(frames):
        for i in calibrated(segment[f], attention[f], mean, stay):
            goes[f, i] = (f, i)
    free = [(f, i) for f in range(frames) for i in range(length) if (f, i) not in goes]
    if not merged:
        return {**goes, **dict.fromkeys(free)}, {}
    edges = []
    for f, i in free:
        before = [(f - 1, j) for j in range(length) if f and (f - 1, j) not in goes]
        similar = {b: float(F.cosine_similarity(segment[f, i], segment[b], dim=0)) for b in before}
        if similar:
            best = max(similar, key=lambda b: similar[b])
            edges.append((similar[best], (f, i), best))
    strongest = sorted(edges, reverse=True)[: len(free) - merged]
    parent = {child: best for strength, child, best in strongest if strength >= link}
    roots = [token for token in free if token not in parent]

    def root_of(token):
        return root_of(parent[token]) if token in parent else token

    grown = {r: torch.stack([segment[t] for t in free if root_of(t) == r]).mean(0) for r in roots}
    of_frame = {f: [r for r in roots if r[0] == f] for f in range(frames)}
    wanted = {f: len(rows) * merged / len(roots) for f, rows in of_frame.items() if rows}
    given = dict.fromkeys(wanted, 1)
    while sum(given.values()) < merged:
        given[max(given, key=lambda f: wanted[f] - given[f])] += 1
    for f, quota in given.items():
        rows = torch.stack([grown[r] for r in of_frame[f]])
        peaks = density_peaks(rows, quota, near=min(7, quota)).tolist()
        for number, r in enumerate(of_frame[f]):
            nearest = min(peaks, key=lambda p: float((rows[p] - rows[number]).norm()))
            centre = of_frame[f][number if number in peaks else nearest]
            goes.update({t: centre for t in free if root_of(t) == r})
    return goes, grown


@pytest.mark.parametrize(("frames", "length"), [(1, 12), (3, 9), (5, 14)])
@pytest.mark.parametrize("keep", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("noise", [0.1, 0.5, 1.2])
def test_a_segment_is_the_twins(frames, length, keep, noise):
    features, attention = drawn(1, frames, length, noise)
    method = FlashVID(keep, segments=1, alike=-1.0)
    tokens = method(features, attention=attention, frames=frames)
    share = math.ceil(keep * length - 1e-9)
    assert tokens.features.shape[1] == frames * share == method.kept(frames * length, frames=frames)
    segment = features[0].unflatten(0, (frames, length))
    goes, grown = twin(segment, attention[0].view(frames, length), share, 0.7, 0.8)
    position, rows = tokens.position[0].tolist(), tokens.features[0]
    for (f, i), centre in goes.items():
        row = int(tokens.source[0, f * length + i])
        assert (position[row] if row >= 0 else None) == (
            None if centre is None else centre[0] * length + centre[1]
        )
    for row, place in enumerate(position):
        centre = divmod(place, length)
        merged = [mean for root, mean in grown.items() if goes[root] == centre]
        expected = torch.stack(merged).mean(0) if merged else segment[centre]
        torch.testing.assert_close(rows[row], expected)


def test_what_moves_is_followed():
    # one thing moves to the right over three frames; nothing else is alike
    eye = torch.eye(9)
    part = torch.stack([eye[[0, 1, 2]], eye[[3, 0, 4]], eye[[5, 6, 0]]])
    free = torch.ones(3, 3, dtype=torch.bool)
    assert trees(part, free, 0.8, 1).tolist() == [0, 1, 2, 3, 0, 5, 6, 7, 0]
    assert trees(part, free, 0.8, 8).tolist() == [0, 1, 2, 3, 0, 5, 6, 7, 8]  # one link is allowed
    free[1, 1] = False  # it stays in the middle frame, and the third finds nothing alike
    assert trees(part, free, 0.8, 1).tolist() == list(range(9))


def test_frames_share_peaks_by_their_roots():
    rows = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    frame = torch.tensor([0] * 9 + [1, 1, 2])
    into = peaks_of(rows, frame, torch.ones(12, dtype=torch.bool), 5)
    assert [len(into[frame == number].unique()) for number in range(3)] == [3, 1, 1]
    free = torch.ones(12, dtype=torch.bool)
    free[:9] = False
    assert peaks_of(rows, frame, free, 3).tolist() == list(range(12))


def test_the_informative_are_attended_to():
    part = torch.eye(4)[None] + 0.1
    attention = torch.tensor([[0.1, 0.7, 0.2, 0.6]])
    assert informative(part, attention, 2).sort().values.tolist() == [[1, 3]]


def test_a_clip_is_its_segments_one_behind_the_other():
    features, attention = drawn(1, 6, 8)
    features[0, 24:] *= -1  # cut in the middle
    method = FlashVID(0.4, segments=2, alike=0.0)
    pictures = features[0].unflatten(0, (6, 8))
    assert FastVID(segments=2, alike=0.0).cuts(pictures.mean(1)) == [(0, 3), (3, 6)]
    whole = method(features, attention=attention, frames=6)
    own = FlashVID(0.4, segments=1, alike=-1.0)
    for number, span in enumerate((slice(0, 24), slice(24, 48))):
        half = own(features[:, span], attention=attention[:, span], frames=3)
        rows = slice(number * 12, number * 12 + 12)
        assert torch.equal(whole.features[:, rows], half.features)
        assert torch.equal(whole.position[:, rows], half.position + span.start)
        assert torch.equal(whole.source[:, span], half.source + rows.start * (half.source >= 0))
    assert whole.size.sum() == 48


def test_a_batch_is_its_clips_alone_and_keeps_the_order():
    features, attention = drawn(3, 4, 10)
    whole = FlashVID(0.3)(features, attention=attention, frames=4)
    assert (whole.position.diff(dim=1) > 0).all()
    for number in range(3):
        given = features[number][None], attention[number][None]
        alone = FlashVID(0.3)(given[0], attention=given[1], frames=4)
        for name in VisionTokens.__dataclass_fields__:
            assert torch.equal(getattr(whole, name)[number], getattr(alone, name)[0])


def test_bad_knobs_are_refused():
    with pytest.raises(InputError, match="segments must be at least 1, got 0"):
        FlashVID(segments=0)
    with pytest.raises(InputError, match=r"chosen must be a share in \[0, 1\], got 2.0"):
        FlashVID(chosen=2.0)
