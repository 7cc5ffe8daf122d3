import pytest

from foveate.cost.hardware import TABLE, hardware, measure_cpu
from foveate.errors import InputError


def test_every_machine_says_where_its_figures_are_from():
    assert set(TABLE) == {"a100", "a100-80gb", "h100", "h200", "l4", "rtx-4090"}
    for name, machine in TABLE.items():
        assert hardware(name) == machine
        assert machine.source
        assert 1e11 < machine.bandwidth < 1e13 < machine.flops < 1e16


def test_this_machine_is_measured():
    machine = measure_cpu(size=256, repeats=2)
    assert 1e8 < machine.flops < 1e15
    assert 1e8 < machine.bandwidth < 1e13
    assert machine.itemsize == 4


def test_unknown_machines_are_refused():
    with pytest.raises(InputError, match=r"unknown machine 'tpu'; known: a100, .*cpu"):
        hardware("tpu")
