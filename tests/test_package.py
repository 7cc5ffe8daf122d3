"""What comes with the package besides its code."""

import tomllib
from importlib.resources import files
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_types_are_told_to_type_checkers():
    assert (files("foveate") / "py.typed").is_file()


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = {"title": project["name"], "version": project["version"], "license": project["license"]}
    assert {name: cited[name] for name in told} == told
    assert project["description"] in " ".join(cited["abstract"].split())
    assert {"cff-version", "message", "authors"} <= set(cited)
