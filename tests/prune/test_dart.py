"""DART's order against a twin that goes token by token, and by hand."""

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F

import foveate
from foveate import testing
from foveate.errors import InputError
from foveate.prune.dart import DART
from foveate.prune.schedule import kept_after
from foveate.runtime.rows import top_rows


def pairs(row):
    """L1 norm of a row's keys (H, d), the two numbers that RoPE turns together taken as one."""
    half = row.shape[1] // 2
    return sum(math.hypot(head[i], head[i + half]) for head in row.tolist() for i in range(half))


def twin(keys, visual, text, count, pivots, words):
    """The set of visual rows that stay of one sample: one pivot after the other picks, one at a time."""
    rows, length = keys.flatten(1), [pairs(row) for row in keys]
    chosen = sorted(visual, key=lambda row: -length[row])[: min(pivots, count)]
    asked = chosen + sorted(text, key=lambda row: -length[row])[:words]
    left, kept = count - len(chosen), set(chosen)
    if not left:
        return kept
    quotas = [left // len(asked)] * len(asked)
    for number in range(left % len(asked)):
        quotas[number] += 1
    for pivot, quota in zip(asked, quotas, strict=True):
        for _ in range(quota):
            free = [row for row in visual if row not in kept]
            like = {row: float(F.cosine_similarity(rows[pivot], rows[row], dim=0)) for row in free}
            kept.add(min(free, key=lambda row: like[row]))
    return kept


@pytest.mark.parametrize("behind", [0, 1, 6])
@pytest.mark.parametrize("count", [1, 2, 5, 13, 30])
@pytest.mark.parametrize(
    ("keep", "pivots", "words"), [(0.5, 4, 4), (0.3, 1, 0), (0.05, 2, 3), (0.9, 5, 1), (1.0, 3, 2)]
)
def test_the_rows_that_stay_are_the_twins(count, behind, keep, pivots, words):
    source = torch.Generator().manual_seed(count * 7 + behind)
    key = torch.randn(1, 2, 2 + count + behind, 4, generator=source)
    visual = torch.zeros(1, key.shape[2], dtype=torch.bool)
    visual[0, 2 : 2 + count] = True
    method = DART(keep=keep, pivots=pivots, words=words)
    score = method.score(key, key, None, None, visual=visual)
    wanted = kept_after(method.schedule(6).get(1, Fraction(1)), count)
    stays = set(top_rows(score, visual, [wanted])[0].nonzero()[:, 0].tolist())
    text = list(range(2 + count, key.shape[2])) or [key.shape[2] - 1]
    assert len(stays) == wanted
    assert stays == twin(
        key[0].transpose(0, 1), list(range(2, 2 + count)), text, wanted, pivots, words
    )


def drawn(samples):
    source = torch.Generator().manual_seed(samples)
    key = torch.randn(samples, 2, 20, 4, generator=source)
    visual = torch.zeros(samples, 20, dtype=torch.bool)
    visual[:, 3:15] = True
    return key, visual


def test_pivots_are_the_largest_keys_and_the_rest_repeats_them_least():
    # rows 1 to 5 are visual, 6 is the text; the pivot is 1, and 2 and 3 repeat it
    rows = torch.tensor([[9.0, 9], [5, 0], [4, 0.4], [4, 0], [1, 1], [0, 1], [-3, 0.5]])
    visual = torch.tensor([[0, 1, 1, 1, 1, 1, 0]]).bool()
    method = DART(keep=0.6, pivots=1, words=0)
    score = method.score(rows[None, None], rows[None, None], None, None, visual=visual)
    assert score[0].tolist() == [0, 5, 2, 1, 3, 4, 0]
    # the word picks second, of what the pivot left: the one least similar to itself
    score = DART(keep=0.6, pivots=1, words=1).score(
        rows[None, None], rows[None, None], None, None, visual=visual
    )
    assert score[0].argsort(descending=True)[:3].tolist() == [1, 5, 3]


def test_hidden_tokens_go_first_and_are_no_pivots():
    key, visual = drawn(2)
    valid = torch.ones_like(visual)
    valid[0, 3:7] = False
    key[0, :, 3:7] = 100.0
    score = DART(keep=0.5).score(key, key, valid, None, visual=visual)
    assert score[0, 3:7].tolist() == [0] * 4
    assert (score[0, 7:15] > 0).all()
    rest = DART(keep=0.75).score(key[:1, :, 7:], key[:1, :, 7:], None, None, visual=visual[:1, 7:])
    best, other = score[0, 7:].argsort(descending=True), rest[0].argsort(descending=True)
    assert set(best[:6].tolist()) == set(
        other[:6].tolist()
    )  # 6 of 12, and 6 of the 8 that are seen


def test_a_batch_is_its_samples_alone():
    key, visual = drawn(3)
    whole = DART(keep=0.4).score(key, key, None, None, visual=visual)
    for sample in range(3):
        own = key[sample][None]
        alone = DART(keep=0.4).score(own, own, None, None, visual=visual[sample][None])
        assert torch.equal(whole[sample], alone[0])


def test_where_a_prompt_begins_does_not_matter():
    key, visual = drawn(1)
    angle = 0.7 * torch.tensor([1.0, 0.1])  # RoPE, the same for all rows
    low, high = key.unflatten(-1, (2, -1)).unbind(-2)
    cos, sin = angle.cos(), angle.sin()
    turned = torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)
    before, after = (DART().score(rows, rows, None, None, visual=visual) for rows in (key, turned))
    assert torch.equal(before, after)


def test_its_schedule_is_the_papers():
    assert {layer: float(share) for layer, share in DART().schedule(32).items()} == {1: 0.5}
    assert DART(keep=1.0).is_off


def test_a_later_drop_has_its_own_pivots():
    model, inputs = testing.tiny("llava")
    with torch.no_grad(), foveate.reduce(model, DART((2, 4), 0.5)) as run:
        model(**inputs)
    came = run.report.visual_tokens_in[0]
    assert run.report.visual_tokens_by_layer[0] == [came] * 2 + [came // 2] * 2 + [came // 4] * 2


def test_bad_knobs_are_refused():
    with pytest.raises(InputError, match="pivots must be at least 1, got 0"):
        DART(pivots=0)
    with pytest.raises(InputError, match="words must be at least 0, got -1"):
        DART(words=-1)
