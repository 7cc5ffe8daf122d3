"""Scores by attention against the whole map, and hand-checked choices of every method that uses them."""

import math

import pytest
import torch

from foveate.errors import InputError
from foveate.prune import attention
from foveate.prune.aim import AIMPrune
from foveate.prune.attention import attention_received, causal_pairs, last_rows, text_behind
from foveate.prune.fastv import FastV
from foveate.prune.pyramiddrop import PyramidDrop
from foveate.prune.sparsevlm import SparseVLM
from foveate.prune.vtw import VTW
from twins import naive_attention


def drawn(count: int, heads: int = 4, kv_heads: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(count)
    query = torch.randn(2, heads, count, 8, generator=source)
    return query, torch.randn(2, kv_heads, count, 8, generator=source)


@pytest.mark.parametrize("block", [2**22, 500, 1])
def test_received_matches_the_whole_map(monkeypatch, block):
    monkeypatch.setattr(attention, "BLOCK", block)
    query, key = drawn(23)
    valid = torch.ones(2, 23, dtype=torch.bool)
    valid[1, :5] = False
    voters = valid & (torch.rand(2, 23, generator=torch.Generator().manual_seed(0)) < 0.4)
    ours = attention_received(query, key, voters, valid, 0.3)
    for sample in range(2):
        whole = naive_attention(query[sample], key[sample], 0.3, valid[sample])
        torch.testing.assert_close(ours[sample], whole[voters[sample]].mean(0))


def test_a_block_is_never_the_whole_map(monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", 2**12)
    query, key = drawn(200)
    voters = torch.ones(2, 200, dtype=torch.bool)
    largest = max(
        rows.shape[1] * 4 * 2 * 200
        for rows, _, _ in attention.attention_rows(query, key, voters, voters)
    )
    assert largest <= 2**12


def test_who_votes():
    visual = torch.tensor([[0, 1, 1, 0, 0, 0], [0, 0, 1, 0, 0, 1]]).bool()
    valid = torch.tensor([[1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1]]).bool()
    assert last_rows(valid).nonzero().tolist() == [[0, 4], [1, 5]]
    # the second sample ends in a picture: its last token speaks
    assert text_behind(visual, valid).nonzero().tolist() == [[0, 3], [0, 4], [1, 5]]


def looks(*targets: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One head in which row i attends to row `targets[i]` with nearly all of its weight."""
    key = torch.eye(len(targets))[None, None]
    query = torch.stack([key[0, 0, target] for target in targets])[None, None]
    return 40 * query, key


def test_fastv_counts_everyone_or_the_last_token():
    # rows 1 to 4 are visual; two visual tokens look at 1, both words at 3
    query, key = looks(0, 1, 1, 1, 4, 3, 3)
    everyone = FastV().score(query, key, scaling=1.0)[0]
    last = FastV(voters="last").score(query, key, scaling=1.0)[0]
    assert everyone.tolist() == pytest.approx([1 / 7, 3 / 7, 0, 2 / 7, 1 / 7, 0, 0], abs=1e-6)
    assert last.tolist() == pytest.approx([0, 0, 0, 1, 0, 0, 0], abs=1e-6)


def test_pyramiddrop_hears_the_last_token_of_each_sample():
    query, key = looks(0, 1, 1, 1, 4, 2, 3)
    query, key = query.expand(2, -1, -1, -1), key.expand(2, -1, -1, -1)
    valid = torch.ones(2, 7, dtype=torch.bool)
    valid[1, 6] = False
    score = PyramidDrop().score(query, key, valid, 1.0)
    assert score.argmax(1).tolist() == [3, 2]


def test_sparsevlm_hears_the_words_that_look_at_the_picture():
    # of the words 4 to 6, the first looks at itself, the others at the picture
    visual = torch.tensor([[0, 1, 1, 1, 0, 0, 0]]).bool()
    query, key = looks(0, 1, 1, 1, 4, 3, 2)
    score = SparseVLM().score(query, key, None, 1.0, visual=visual)[0]
    assert score.tolist() == pytest.approx([0, 0, 0.5, 0.5, 0, 0, 0], abs=1e-6)


def test_sparsevlm_matches_the_whole_map():
    query, key = drawn(17)
    visual = torch.zeros(2, 17, dtype=torch.bool)
    visual[:, 2:10] = True
    ours = SparseVLM().score(query, key, None, None, visual=visual)
    for sample in range(2):
        whole = naive_attention(query[sample], key[sample], 1 / math.sqrt(8))[10:]
        ties = whole[:, 2:10].sum(1)
        torch.testing.assert_close(ours[sample], whole[ties >= ties.mean()].mean(0))


def test_schedules_are_the_papers():
    assert {layer: float(share) for layer, share in FastV().schedule(32).items()} == {1: 0.5}
    assert VTW().schedule(32) == {15: 0}
    staged = {layer: float(share) for layer, share in PyramidDrop().schedule(32).items()}
    assert staged == {7: 0.5, 15: 0.25, 23: 0.125}
    assert list(SparseVLM().schedule(32)) == [1, 5, 14]
    assert list(SparseVLM().schedule(6)) == [0, 1, 2]  # drops never coincide


@pytest.mark.parametrize("method", [FastV, PyramidDrop, SparseVLM])
def test_keeping_all_is_off(method):
    assert method(keep=1.0).is_off
    assert method(keep=1.0).schedule(8) == {}
    assert not method(keep=0.5).is_off


def test_bad_knobs_are_refused(untyped):
    with pytest.raises(InputError, match=r"keep must be a share in \(0, 1\], got 0"):
        FastV(keep=0)
    with pytest.raises(InputError, match="voters must be one of"):
        FastV(voters="none")
    for after in ((), (0,), (1.5,), (True,), 3):
        with pytest.raises(InputError, match="after takes counts of layers"):
            PyramidDrop(after)
    with pytest.raises(InputError, match=r"after layers|allowed: rising counts from 1 to 5"):
        FastV((6,)).schedule(6)
    with pytest.raises(InputError, match="rising counts"):
        PyramidDrop((3, 2)).schedule(6)


@pytest.mark.parametrize(("rows", "heads"), [(0, 4), (1, 4), (700, 14), (3000, 28), (2999, 28)])
def test_pairs_are_those_of_the_blocks(rows, heads):
    step, pairs = max(attention.BLOCK // (heads * rows or 1), 1), 0
    for low in range(0, rows, step):
        high = min(low + step, rows)
        pairs += high * (high - low)
    assert causal_pairs(rows, heads) == pairs


def test_scoring_of_millions_of_rows_is_counted_at_once():
    for method in (AIMPrune(), FastV()):
        assert method.flops(10**7, 28, 128) == pytest.approx(28 * 128 * 10**14, rel=0.05)
