"""`foveate check`: a line a check, and an exit status."""

import json

import pytest

from command import run
from foveate.models.family import families


@pytest.mark.parametrize("kind", ["a model type", "a folder"])
def test_what_holds_is_a_line_each(tmp_path, kind):
    place = "llava"
    if kind == "a folder":
        place = str(tmp_path)
        families()["llava"].tiny().config.save_pretrained(place)
    out = run("check", place)
    assert out.returncode == 0, out.stdout + out.stderr
    lines = out.stdout.splitlines()
    assert lines[0] == "holds   image: the model itself runs a prompt"
    assert len(lines) == 8
    assert all(line.startswith("holds   image: ") for line in lines)


def test_what_does_not_hold_is_an_exit_status(tmp_path):
    config = families()["llava"].tiny().config
    config.image_token_id = 500  # beyond the vocabulary
    config.save_pretrained(tmp_path)
    out = run("check", str(tmp_path), "--json")
    assert out.returncode == 1
    told = json.loads(out.stdout)
    assert told["family"] == "llava"
    (only,) = told["checks"]
    assert not only["holds"]
    assert only["fault"].startswith("image_token_id 500 is beyond the vocabulary")


def test_what_is_no_model_is_one_line(tmp_path):
    out = run("check", str(tmp_path))
    assert (out.returncode, out.stdout) == (2, "")
    assert out.stderr.startswith("foveate: no config of a model at ")
