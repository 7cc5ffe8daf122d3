"""A kernel on a GPU chooses as the loop does there."""

import pytest
import torch

from foveate.compress import divprune
from foveate.prune.aim import token_importance
from foveate.prune.products import FULL, precision_on


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "count"),
    [((1, 1, 4), 1), ((1, 729, 64), 182), ((3, 1024, 32), 300), ((2, 4097, 16), 50)],
)
def test_tokens_that_differ_most(shape, count, dtype, device, monkeypatch):
    if device != "cuda":
        pytest.skip("kernels are for CUDA")
    pytest.importorskip("triton")
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    features = features.round()  # ties
    assert divprune.kernel_on(features.device) is not divprune.steps, "the log says why"
    made = divprune.diverse(features, count)
    monkeypatch.setattr(divprune, "kernel_on", lambda device: divprune.steps)
    assert torch.equal(made, divprune.diverse(features, count))


def test_nan_stays_inside(device):
    if device != "cuda":
        pytest.skip("kernels are for CUDA")
    features = torch.full((1, 300, 8), torch.nan, device=device)
    chosen = divprune.diverse(features, 20)
    assert chosen.max() < 300
    assert chosen.min() >= 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_importance_in_half_precision_keeps_the_same_tokens(dtype, device):
    if device == "cuda":
        assert precision_on(torch.device("cuda"), dtype) != FULL, "the log says why"
    source = torch.Generator().manual_seed(0)
    query, key = (
        torch.randn(1, heads, 700, 64, generator=source).to(device, dtype) for heads in (14, 2)
    )
    half, full = (
        set(token_importance(*given)[0].topk(350).indices.tolist())
        for given in ((query, key), (query.float(), key.float()))
    )
    assert len(half & full) >= 0.99 * len(full)
