"""Products in half precision: which dtypes where, and that the tokens that stay are those of fp32."""

import pytest
import torch

import foveate
from foveate.prune import products
from foveate.prune.aim import AIMPrune, token_importance
from foveate.prune.products import FULL, Precision, precision_on, product

CPU = torch.device("cpu")
BF16 = Precision(torch.bfloat16, torch.bfloat16)


@pytest.fixture
def fast(monkeypatch):
    """A CPU that multiplies bf16 fast, whatever this one does."""
    monkeypatch.setattr(products, "has_fast_bf16", lambda: True)
    precision_on.cache_clear()
    yield
    precision_on.cache_clear()


def agreeing(query, key, visual, shares, **knobs):
    """Share of the kept tokens that are kept in half precision, too."""
    half, full = (
        token_importance(*given, **knobs).masked_fill(~visual, -1)
        for given in ((query.bfloat16(), key.bfloat16()), (query.float(), key.float()))
    )
    same = total = 0
    for share in shares:
        count = int(share * int(visual.sum(1).min()))
        for ours, theirs in zip(half.topk(count).indices, full.topk(count).indices, strict=True):
            same += len(set(ours.tolist()) & set(theirs.tolist()))
            total += count
    return same / total


def test_what_is_multiplied_in_what(monkeypatch, fast):
    assert precision_on(CPU, torch.float32) == FULL
    assert precision_on(CPU, torch.float16) == FULL  # a CPU would round it to what overflows
    assert precision_on(CPU, torch.bfloat16) == BF16
    assert precision_on(torch.device("meta"), torch.bfloat16) == FULL
    precision_on.cache_clear()
    monkeypatch.setattr(products, "has_fast_bf16", lambda: False)
    assert precision_on(CPU, torch.bfloat16) == FULL


def test_a_device_that_cannot_is_served_in_fp32(caplog):
    caplog.set_level("INFO")
    assert products.tried(CPU, Precision(torch.bfloat16, torch.float32)) == FULL
    assert "products on cpu, so fp32" in caplog.text
    assert products.tried(CPU, BF16) == BF16


def test_torch_has_the_product_that_a_gpu_is_asked_for():
    """By its signature alone: what it computes is tested where a GPU is."""
    schema = torch.ops.aten.baddbmm.dtype_out._schema
    names = [argument.name for argument in schema.arguments]
    assert names == ["self", "batch1", "batch2", "out_dtype", "beta", "alpha", "out"]


def test_a_product_that_is_wrong_is_not_used(monkeypatch):
    monkeypatch.setattr(products, "product", lambda query, key, factor, out: out)
    assert products.tried(CPU, BF16) == FULL


def test_the_factor_is_not_rounded():
    query = torch.full((1, 1, 4), 1.0, dtype=torch.bfloat16)
    key = torch.full((1, 4, 1), 3.0, dtype=torch.bfloat16)
    out = product(query, key, 0.33337, torch.full((1, 1, 1), torch.nan, dtype=torch.bfloat16))
    assert out.item() == torch.tensor(12 * 0.33337).bfloat16().item()


@pytest.mark.parametrize("case", range(4))
def test_the_same_tokens_of_published_importance_stay(golden, case, fast):
    data = golden("importance")
    query, key = (data[f"case{case}.{name}"].bfloat16() for name in ("query", "key"))
    temperature, steps, damping = data[f"case{case}.params"].tolist()
    knobs = {"temperature": temperature, "steps": int(steps), "damping": damping}
    everything = torch.ones(len(query), query.shape[2], dtype=torch.bool)
    shares = [step / 8 for step in range(1, 8)]
    assert agreeing(query, key, everything, shares, **knobs) >= 0.99
    assert token_importance(query, key, **knobs).dtype == torch.float32


def test_padding_is_left_out_in_half_precision(fast):
    source = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 4, 90, 16, generator=source).bfloat16() for _ in range(2))
    valid = torch.ones(2, 90, dtype=torch.bool)
    valid[1, :30] = False
    ours = token_importance(query, key, valid=valid)
    assert ours[1, :30].abs().sum() == 0
    alone = token_importance(query[1:, :, 30:], key[1:, :, 30:])
    torch.testing.assert_close(ours[1:, 30:], alone, rtol=0.02, atol=1e-5)


def test_half_precision_is_used(fast, monkeypatch):
    seen = []

    def watched(query, key, factor, out):
        seen.append((query.dtype, key.dtype, out.dtype))
        return product(query, key, factor, out)

    for module in (foveate.prune.aim, foveate.prune.attention):
        monkeypatch.setattr(module, "product", watched)
    query, key = torch.randn(1, 4, 9, 8).bfloat16(), torch.randn(1, 2, 9, 8).bfloat16()
    for method in (AIMPrune(), foveate.FastV()):
        method.score(query, key)
    assert len(seen) > 1
    assert set(seen) == {(torch.bfloat16,) * 3}
