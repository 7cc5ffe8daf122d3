"""A kernel on a GPU chooses as the loop does there."""

import pytest
import torch

from foveate.compress import divprune


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
