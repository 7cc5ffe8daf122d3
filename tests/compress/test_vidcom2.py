import math

import pytest
import torch
import torch.nn.functional as F

from foveate.compress.vidcom2 import VidCom2, shared
from foveate.errors import InputError


def drawn(clips: int, frames: int, length: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(frames)
    base = torch.randn(1, 1, length, 16, generator=source)
    noise = torch.randn(clips, frames, length, 16, generator=source)
    return (base + noise * torch.rand(clips, frames, 1, 1, generator=source)).flatten(1, 2)


def twin(clip: torch.Tensor, frames: int, keep: float, temperature: float) -> list[int]:
    """Equations 3 to 10 token by token, and numbers that are handed out one after the other."""
    length = len(clip) // frames
    pictures = clip.split(length)

    def unique(token: torch.Tensor, among: torch.Tensor) -> float:
        return -float(F.cosine_similarity(token, among.mean(0), dim=0))

    in_clip = [[unique(token, clip) for token in picture] for picture in pictures]
    both = [
        [unique(token, picture) + known for token, known in zip(picture, row, strict=True)]
        for picture, row in zip(pictures, in_clip, strict=True)
    ]
    means = [sum(row) / length for row in in_clip]
    exponents = [math.exp((mean - max(means)) / temperature) for mean in means]
    wanted = [keep * length * (1 + e / sum(exponents) - 1 / frames) for e in exponents]
    count = math.ceil(keep * len(clip) - 1e-9)
    given = [0] * frames
    for _ in range(count):
        hungry = [f for f in range(frames) if given[f] == 0] or range(frames)
        open_ = [f for f in hungry if given[f] < length]
        given[max(open_, key=lambda f: wanted[f] - given[f])] += 1
    kept = []
    for number, (row, quota) in enumerate(zip(both, given, strict=True)):
        best = sorted(range(length), key=lambda token: -row[token])[:quota]
        kept += [number * length + token for token in sorted(best)]
    return kept


@pytest.mark.parametrize(("frames", "length"), [(1, 12), (2, 9), (4, 5), (7, 6)])
@pytest.mark.parametrize("keep", [0.05, 0.25, 0.5, 0.93, 1.0])
@pytest.mark.parametrize("temperature", [0.01, 0.3])
def test_the_tokens_that_stay_are_the_twins(frames, length, keep, temperature):
    clips = drawn(3, frames, length)
    tokens = VidCom2(keep, temperature)(clips, frames=frames)
    assert tokens.features.shape[1] == VidCom2(keep).kept(frames * length, frames=frames)
    for clip, kept in zip(clips, tokens.position.tolist(), strict=True):
        assert kept == twin(clip, frames, keep, temperature)


def test_a_frame_unlike_the_others_gets_more():
    clip = torch.tensor([1.0, 0]).repeat(40, 1)
    clip[:, 1] = torch.linspace(0, 0.1, 40)
    clip[20:30] = torch.tensor([0.2, 1.0])
    tokens = VidCom2(0.4)(clip[None], frames=4)
    assert (tokens.position[0] // 10).bincount().tolist() == [3, 3, 7, 3]  # 0.4 (1 + 1 - 1/4) of 10


def test_the_most_unusual_tokens_of_a_picture_stay():
    picture = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [1, 0], [-1, 0.5], [1, 0.1]])
    tokens = VidCom2(1 / 3)(picture[None], frames=1)
    assert tokens.position.tolist() == [[2, 4]]
    assert torch.equal(tokens.features[0], picture[[2, 4]])


def test_shares_are_whole_and_add_up():
    wanted = torch.tensor([[0.2, 3.6, 2.2], [9.0, 0.4, 0.0], [2.0, 2.0, 2.0]])
    assert shared(wanted, 6, 4).tolist() == [[1, 3, 2], [4, 1, 1], [2, 2, 2]]
    assert shared(wanted, 2, 4).tolist() == [[0, 1, 1], [1, 1, 0], [1, 1, 0]]
    assert shared(wanted, 12, 4).tolist() == [[4, 4, 4]] * 3


def test_a_batch_is_its_clips_alone():
    clips = drawn(3, 4, 6)
    whole = VidCom2(0.3)(clips, frames=4)
    for number, clip in enumerate(clips):
        alone = VidCom2(0.3)(clip[None], frames=4)
        assert torch.equal(whole.position[number], alone.position[0])
        assert torch.equal(whole.features[number], alone.features[0])


def test_a_temperature_is_above_zero():
    with pytest.raises(InputError, match="temperature must be above 0, got 0"):
        VidCom2(temperature=0.0)
