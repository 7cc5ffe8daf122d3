"""Pictures that show nothing: every method keeps as many tokens of them as of any other, none twice."""

import pytest
import torch

import foveate

TOKENS, WIDTH, FRAMES = 36, 8, 4
GRID = {"grid": (6, 6)}
KNOWN = {
    "grid": (6, 6),
    "frames": FRAMES,
    "number": torch.tensor([0]),
    "attention": torch.full((1, TOKENS), 1 / TOKENS),
    "query": torch.ones(1, 5, WIDTH),
    "keys": torch.ones(1, TOKENS, WIDTH),
}
METHODS = {name: row.build for name, row in foveate.methods().items() if row.stage == "before"}


@pytest.mark.parametrize("keep", [0.11, 0.5, 0.9])
@pytest.mark.parametrize("value", [0.0, 1.0, -3e4])
@pytest.mark.parametrize("name", METHODS)
def test_alike_tokens_are_kept_once(name, value, keep):
    method = METHODS[name](keep=keep)
    told = {need: KNOWN[need] for need in method.needs if need in KNOWN}
    left = method(torch.full((1, TOKENS, WIDTH), value), **told)
    assert left.features.isfinite().all()
    positions = left.position[0].tolist()
    assert len(set(positions)) == len(positions)
    if hasattr(method, "kept"):
        more = {key: told[key] for key in ("grid", "frames") if key in told}
        assert len(positions) == method.kept(TOKENS, **more)
