import logging
import subprocess
import sys

import pytest
import torch

from foveate.compress import divprune
from foveate.compress.divprune import DivPrune, diverse, kernel_on, steps
from twins import most_diverse


def test_matches_naive():
    features = torch.randn(3, 20, 6, generator=torch.Generator().manual_seed(0))
    chosen = diverse(features, 8)
    for group in range(3):
        assert chosen[group].tolist() == most_diverse(features[group], 8)


def test_one_of_each_direction_stays():
    # three directions, of different lengths; the lone one is farthest from its nearest neighbour
    features = torch.tensor([[[1.0, 0], [2, 0], [0, 1], [0, 3], [-1, -1], [5, 0]]])
    tokens = DivPrune(0.5)(features)
    assert tokens.position.tolist() == [[0, 2, 4]]
    assert tokens.source.tolist() == [[0, -1, 1, -1, 2, -1]]


def test_what_has_a_gradient_is_chosen_from_as_without():
    features = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(diverse(features.clone().requires_grad_(), 4), diverse(features, 4))


ON_A_CPU = """
import sys, torch
from foveate.compress.divprune import DivPrune
from foveate.registry import discover
discover("foveate.compress")
DivPrune(0.5)(torch.eye(6)[None])
print([name for name in sys.modules if name == "triton" or name.endswith("kernels.diverse")])
"""


def test_a_cpu_takes_the_loop_and_no_triton():
    done = subprocess.run([sys.executable, "-c", ON_A_CPU], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_cpu_does_not_ask_for_the_kernel(monkeypatch):
    monkeypatch.setattr(divprune, "kernel_on", lambda device: pytest.fail("a CPU has no kernel"))
    assert diverse(torch.eye(6)[None], 3).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("why", ["Triton is missing", "Triton has nothing for the device"])
def test_where_the_kernel_does_not_run_the_loop_does(why, monkeypatch, caplog):
    if why == "Triton is missing":
        monkeypatch.setitem(sys.modules, "triton", None)
        monkeypatch.delitem(sys.modules, "foveate.compress.kernels.diverse", raising=False)
    caplog.set_level(logging.INFO, "foveate")
    kernel_on.cache_clear()
    assert kernel_on(torch.device("cpu")) is steps
    kernel_on.cache_clear()
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "no kernel for the tokens that differ most on cpu, so a loop"
    ]
