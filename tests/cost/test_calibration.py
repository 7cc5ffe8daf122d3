import json

import numpy as np
import pytest
import torch

from foveate.cost.calibration import Calibration, fit_calibration
from foveate.cost.hardware import hardware
from foveate.cost.timed_layers import FITTED, HELD_OUT, Shape, _layer, _weights, calibrate
from foveate.errors import InputError
from foveate.planner.reduction import plan_reduction

RATES = {
    "ms_per_flop": 1e-8,
    "ms_per_attention_flop": 2e-8,
    "ms_per_number": 4e-7,
    "ms_per_operation": 0.01,
}
TRUTH = Calibration("truth", **RATES, median_error=None, conditions={})


def timed(shapes, noise: float = 0.0):
    random = np.random.default_rng(0)
    return [
        (shape.cost, TRUTH.ms(shape.cost.operations) * float(random.normal(1, noise)))
        for shape in shapes
    ]


def test_rates_are_found_again():
    found = fit_calibration(timed(FITTED), timed(HELD_OUT))
    for name, rate in RATES.items():
        assert getattr(found, name) == pytest.approx(rate, rel=0.01)
    assert found.median_error == pytest.approx(0, abs=1e-6)


def test_noisy_timings_still_foretell_others():
    found = fit_calibration(timed(FITTED, 0.05), timed(HELD_OUT))
    assert 0 < found.median_error < 0.05
    assert min(found.ms_per_flop, found.ms_per_number, found.ms_per_operation) >= 0


def test_no_held_out_shape_is_fitted():
    assert not set(FITTED) & set(HELD_OUT)
    assert not {shape.width for shape in FITTED} & {shape.width for shape in HELD_OUT}


def test_a_probe_computes_what_its_cost_says():
    from counted import counted

    shape = Shape(64, 96, 4, 2, rows=10, layers=1)
    weights = _weights(shape, {})
    states = torch.randn(1, 10, 64)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        real = counted(lambda: _layer(states, weights, shape))
    assert real == shape.cost.flops - 2 * 64  # the output layer of one word
    changed = states.clone()
    changed[:, 6] += 1
    before, after = (_layer(each, weights, shape) for each in (states, changed))
    assert torch.equal(before[:, :6], after[:, :6])  # causal
    assert not torch.equal(before[:, 6:], after[:, 6:])


def test_this_machine_is_calibrated_and_planned_for(tmp_path):
    shapes = tuple(Shape(32, 48, 4, 2, rows) for rows in (4, 8, 16, 32, 64))
    seen = []
    found = calibrate(shapes, shapes[:2], repeats=1, progress=lambda shape, ms: seen.append(shape))
    assert seen == [*shapes, *shapes[:2]]
    assert found.conditions["threads"] == torch.get_num_threads()
    found.write(tmp_path / "here.json")
    assert (
        hardware(str(tmp_path / "here.json")) == Calibration.read(tmp_path / "here.json") == found
    )
    TRUTH.write(tmp_path / "truth.json")
    plan = plan_reduction("foveate-mini", "20 ms", machine=str(tmp_path / "truth.json"))
    assert plan.cost.first_token_ms(TRUTH) <= 20 < plan.unreduced.first_token_ms(TRUTH)


def test_bad_timings_and_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least 5 timings, got 2"):
        fit_calibration(timed(FITTED[:2]))
    with pytest.raises(InputError, match="above 0 ms, got 0"):
        fit_calibration([*timed(FITTED), (FITTED[0].cost, 0.0)])
    for text in ("{", json.dumps({"name": "x"}), "[]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match="is no calibration"):
            Calibration.read(tmp_path / "bad.json")
    with pytest.raises(InputError, match="is no calibration"):
        hardware(str(tmp_path / "none.json"))
