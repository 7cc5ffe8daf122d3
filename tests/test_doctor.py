"""The doctor sees what is there, what is not, and what is of a wrong version, and says what to do."""

import json
import tomllib
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from foveate import doctor
from foveate.cli import app
from foveate.doctor import EXTRAS, Finding, findings

DECLARED = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def found(what: str) -> Finding:
    """The finding of that name."""
    return next(one for one in findings() if one.what.startswith(what))


@pytest.fixture
def versions(monkeypatch):
    """Versions to be changed; what is not named is as it is."""
    told, real = {}, doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda name: told.get(name, real(name)))
    monkeypatch.setattr(
        doctor, "requires", lambda name: [
            *DECLARED["dependencies"],
            *(f'{line}; extra == "{extra}"'
              for extra, lines in DECLARED["optional-dependencies"].items() for line in lines),
        ],
    )  # fmt: skip
    return told


def test_every_extra_of_users_is_told():
    assert set(EXTRAS) | {"docs", "test"} == set(DECLARED["optional-dependencies"])


def test_every_package_that_is_needed_is_fine_here(versions):
    needed = {doctor.Requirement(line).name for line in DECLARED["dependencies"]}
    told = {one.what: one.state for one in findings()}
    assert {told[name] for name in needed} == {"fine"}


@pytest.mark.parametrize(
    ("version", "state", "told"),
    [
        ("5.16.9", "wrong", "5.16.9, tested with "), (None, "wrong", "not installed"),
        ("5.17.0", "fine", ""),
    ],
)  # fmt: skip
def test_a_version_out_of_range(versions, version, state, told):
    versions["transformers"] = version
    one = found("transformers")
    assert one.state == state
    assert one.found.startswith(told)
    assert bool(one.remedy) == (state == "wrong")


def test_families_that_an_older_transformers_lacks(versions):
    versions["transformers"] = "5.17.0"
    newest = DECLARED["dependencies"]
    one = found("model families")
    assert one.state == "lacking"
    assert any(line.startswith("transformers") for line in newest)
    assert "transformers" in one.remedy


def test_an_extra_lacks_what_is_not_installed(versions):
    versions |= {"av": None}
    one = found("[video]")
    assert (one.found, one.state, one.remedy) == (
        "av not installed", "lacking", 'pip install "foveate[video]"'
    )  # fmt: skip
    versions["av"] = "12.0"
    assert found("[video]").state == "wrong"
    versions["av"] = "13.0"
    assert found("[video]").state == "fine"


def test_threads_are_no_more_than_cores(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(doctor.os, "cpu_count", lambda: 2)
    one = found("threads")
    assert (one.found, one.state, one.remedy) == ("8 on 2 cores", "wrong", "OMP_NUM_THREADS=2")


def test_a_gpu_is_named(monkeypatch):
    class Properties:
        name, total_memory = "H100", 80 * 2**30

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Properties())
    assert found("GPU 0") == Finding("GPU 0", "H100, 80 GiB")
    assert not any(one.what == "GPU" for one in findings())


def test_the_command_prints_and_exits_by_what_is_wrong(versions):
    ran = CliRunner().invoke(app, ["doctor", "--json"])
    told = json.loads(ran.stdout)
    assert {row["state"] for row in told} <= {"fine", "lacking", "wrong"}
    assert ran.exit_code == any(row["state"] == "wrong" for row in told)
    versions["torch"] = "2.0"
    ran = CliRunner().invoke(app, ["doctor"])
    assert ran.exit_code == 1
    assert "2.0, tested with" in ran.stdout
    assert "[video] clips from files" in ran.stdout
