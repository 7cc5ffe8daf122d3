"""Where these tests run: `pytest tests/gpu --device cpu` tries them out without a GPU."""

import pytest
import torch


@pytest.fixture(autouse=True)
def exact():
    """Convolutions without TF32, so that fp32 is fp32."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = allowed


@pytest.fixture
def device(request):
    """A device by its name; without it the test is skipped."""
    name = request.config.getoption("--device")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return name
