import math

import pytest
import torch
import torch.nn.functional as F

import foveate
from foveate import testing
from foveate.compress.evs import EVS


def drawn(clips: int, frames: int, length: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(frames)
    return torch.randn(clips, frames * length, 8, generator=source).cumsum(1)


def twin(clip: torch.Tensor, frames: int, keep: float) -> list[int]:
    """All of the first frame, then one token after the other, the one that changed most first."""
    length, count = len(clip) // frames, math.ceil(keep * len(clip) - 1e-9)
    change = {
        place: 1 - float(F.cosine_similarity(clip[place], clip[place - length], dim=0))
        for place in range(length, len(clip))
    }
    kept = list(range(length))
    while len(kept) < count:
        kept.append(max(change, key=lambda place: change[place]))
        del change[kept[-1]]
    return sorted(kept)


@pytest.mark.parametrize(("frames", "length"), [(2, 9), (4, 5), (7, 6)])
@pytest.mark.parametrize("keep", [0.5, 0.6, 0.93, 1.0])
def test_the_tokens_that_stay_are_the_twins(frames, length, keep):
    clips = drawn(3, frames, length)
    tokens = EVS(keep)(clips, frames=frames)
    assert tokens.features.shape[1] == EVS(keep).kept(frames * length, frames=frames)
    for clip, kept in zip(clips, tokens.position.tolist(), strict=True):
        assert kept == twin(clip, frames, keep)


def test_what_stands_still_goes():
    still = torch.eye(5)
    second, third = still.clone(), still.clone()
    second[3] = third[3] = torch.tensor([1.0, 0, 0, 1, 0])  # moves once, and stays there
    third[1] = torch.tensor([0.0, 1, 0.5, 0, 0])
    clip = torch.cat([still, second, third])[None]
    tokens = EVS(7 / 15)(clip, frames=3)
    assert tokens.position.tolist() == [[0, 1, 2, 3, 4, 8, 11]]
    assert torch.equal(tokens.features[0], clip[0, tokens.position[0]])
    assert tokens.source[0, 13] == -1


@pytest.mark.parametrize("frames", [1, 4])
def test_a_budget_below_the_first_frame_is_spread_over_it(frames):
    tokens = EVS(3 / (12 * frames))(drawn(2, frames, 12), frames=frames)
    assert tokens.position.tolist() == [[2, 6, 10]] * 2
    whole = EVS(1 / frames)(drawn(2, frames, 12), frames=frames)
    assert whole.position.tolist() == [list(range(12))] * 2


def test_a_batch_is_its_clips_alone():
    clips = drawn(3, 4, 6)
    whole = EVS(0.4)(clips, frames=4)
    for number, clip in enumerate(clips):
        assert torch.equal(whole.position[number], EVS(0.4)(clip[None], frames=4).position[0])


def test_frames_of_a_real_clip_are_told_apart():
    model, inputs = testing.tiny("llava_onevision", "video")
    with torch.no_grad(), foveate.reduce(model, EVS(0.5)) as run:
        model(**inputs)
    report = run.report
    assert report.visual_tokens_to_llm[0] == math.ceil((report.visual_tokens_in[0] - 1) / 2) + 1
