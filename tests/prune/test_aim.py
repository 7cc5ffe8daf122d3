import pytest
import torch

from foveate.errors import InputError
from foveate.prune import aim
from foveate.prune.aim import AIMPrune, token_importance
from twins import naive_importance


@pytest.mark.parametrize("case", range(4))
def test_matches_published_code(golden, case):
    data = golden("importance")
    temperature, steps, damping = data[f"case{case}.params"].tolist()
    ours = token_importance(
        data[f"case{case}.query"], data[f"case{case}.key"], temperature, int(steps), damping
    )
    # importance sums to about 1: what is below 1e-9 of it is float noise
    torch.testing.assert_close(ours, data[f"case{case}.importance"], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("count", [1, 13, 127, 128, 129, 300])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2)])
def test_matches_naive(count, heads, kv_heads):
    source = torch.Generator().manual_seed(count)
    query = torch.randn(2, heads, count, 16, generator=source)
    key = torch.randn(2, kv_heads, count, 16, generator=source)
    ours = token_importance(query, key, damping=0.1)
    for sample in range(2):
        naive = naive_importance(query[sample], key[sample], 0.1, 5, 0.1)
        torch.testing.assert_close(ours[sample], naive, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("left", [True, False])
def test_padding_neither_votes_nor_receives(left):
    query, key = torch.randn(2, 4, 200, 16), torch.randn(2, 4, 200, 16)
    real = slice(70, 200) if left else slice(0, 130)
    valid = torch.ones(2, 200, dtype=torch.bool)
    valid[1] = False
    valid[1, real] = True
    ours = token_importance(query, key, valid=valid)
    alone = token_importance(query[1:, :, real], key[1:, :, real])
    torch.testing.assert_close(ours[1:, real], alone, rtol=1e-4, atol=1e-9)
    assert ours[1][~valid[1]].abs().sum() == 0
    torch.testing.assert_close(ours[:1], token_importance(query[:1], key[:1]), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("rows", [7, 40])
def test_block_size_does_not_matter(monkeypatch, rows):
    """Blocks of fewer rows than a vector has, and of more: these end where a vector ends."""
    query, key = torch.randn(1, 4, 100, 16), torch.randn(1, 2, 100, 16)
    whole = token_importance(query, key)
    monkeypatch.setattr(aim, "CPU_BLOCK", rows * 4 * 100)
    torch.testing.assert_close(token_importance(query, key), whole, rtol=1e-4, atol=1e-9)


def test_no_square_map_in_memory(monkeypatch):
    largest = 0
    softmax = torch.softmax

    def watched(logits, *args, **kwargs):
        nonlocal largest
        largest = max(largest, logits.numel())
        return softmax(logits, *args, **kwargs)

    monkeypatch.setattr(torch, "softmax", watched)
    monkeypatch.setattr(aim, "CPU_BLOCK", 2**16)
    token_importance(torch.randn(1, 2, 1000, 8), torch.randn(1, 2, 1000, 8))
    assert 0 < largest <= 2**16


@pytest.mark.parametrize("size", [2**26, 8 * 2 * 100, 1])
def test_no_more_memory_than_the_whole_matrix_or_one_row(monkeypatch, size):
    taken = []
    empty = torch.Tensor.new_empty

    def watched(tensor, *shape, **kwargs):
        taken.append(empty(tensor, *shape, **kwargs))
        return taken[-1]

    monkeypatch.setattr(torch.Tensor, "new_empty", watched)
    monkeypatch.setattr(aim, "CPU_BLOCK", size)
    token_importance(torch.randn(1, 2, 100, 8), torch.randn(1, 2, 100, 8))
    assert taken[0].numel() == min(max(size, 2 * 100), 2 * 100 * 100)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"steps": 0}, r"steps must be in \[1, 100\], got 0"),
        ({"steps": 10**6}, r"steps must be in \[1, 100\], got 1000000"),
        ({"damping": 1.0}, r"damping must be in \[0, 1\), got 1.0"),
        ({"prune": (5, 5)}, "must start before it stops"),
    ],
)
def test_bad_knobs_are_refused(knobs, message):
    with pytest.raises(InputError, match=message):
        AIMPrune(**knobs)
