import pytest
import torch

from foveate.runtime.rows import Rows, gather_rows, top_rows


def naive_select(valid, keep, *, pad_left):
    """Rows of each sample in plain lists, padded with None."""
    chosen = [
        [row for row in range(len(v)) if v[row] and k[row]]
        for v, k in zip(valid, keep, strict=True)
    ]
    longest = max(map(len, chosen))
    pads = [[None] * (longest - len(rows)) for rows in chosen]
    return [p + rows if pad_left else rows + p for p, rows in zip(pads, chosen, strict=True)]


def counts(rows, keep):
    """How many rows are kept of each sample, and how many of them are visual."""
    keep = keep & rows.valid
    return keep.sum(1).tolist(), (keep & rows.visual).sum(1).tolist()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pad_left", [True, False])
def test_select_matches_naive(seed, pad_left):
    source = torch.Generator().manual_seed(seed)
    valid = torch.ones(3, 12, dtype=torch.bool)
    valid[1, slice(4) if pad_left else slice(8, None)] = False
    visual = torch.rand(3, 12, generator=source) < 0.5
    keep = torch.rand(3, 12, generator=source) < 0.6
    rows = Rows.of_prompt(valid, visual)
    assert rows.pad_left == pad_left
    index, left = rows.select(keep, *counts(rows, keep))
    expected = naive_select(valid.tolist(), keep.tolist(), pad_left=pad_left)
    for sample in range(3):
        for place, row in enumerate(expected[sample]):
            assert bool(left.valid[sample, place]) == (row is not None)
            if row is not None:
                assert index[sample, place] == left.origin[sample, place] == row
                assert left.visual[sample, place] == visual[sample, row]
    # a second cut still knows the prompt's rows
    again = left.select(left.visual, *counts(left, left.visual))[1]
    for sample in range(3):
        kept = again.origin[sample][again.valid[sample]].tolist()
        assert kept == [row for row in expected[sample] if row is not None and visual[sample, row]]


def test_mask_is_none_without_padding():
    every = torch.ones(2, 3, dtype=torch.bool)
    assert Rows.of_prompt(every, every).mask is None
    padded = every.clone()
    padded[0, 0] = False
    assert torch.equal(Rows.of_prompt(padded, every).mask, padded)


def test_gather_rows_expands_shared_states():
    states = torch.arange(6.0).view(1, 3, 2)
    taken = gather_rows(states, torch.tensor([[2, 0], [1, 1]]))
    assert taken.tolist() == [[[4, 5], [0, 1]], [[2, 3], [2, 3]]]


def test_top_rows_takes_the_best_candidates_earlier_first():
    score = torch.tensor([[5.0, 1, 3, 3, 9], [1, 1, 1, 1, 1]])
    candidates = torch.tensor([[True, True, True, True, False], [False, True, True, True, True]])
    kept = top_rows(score, candidates, [2, 3])
    assert kept.tolist() == [
        [True, False, True, False, False],
        [False, True, True, True, False],
    ]
    assert not top_rows(score, candidates, [0, 0]).any()
