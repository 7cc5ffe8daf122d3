"""README.md: one screen, whose picture is drawn anew and whose sentences are those of the records."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "README.md").read_text()
WORDS = " ".join(PAGE.split())


@pytest.fixture(scope="module")
def script():
    """`benchmarks/readme_picture.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import readme_picture

        yield readme_picture


def rows(name, **wanted):
    found = json.loads((ROOT / "results" / f"{name}.json").read_text())["rows"]
    return [row for row in found if wanted.items() <= row.items()]


def test_it_is_one_screen():
    assert PAGE.count("\n") <= 150


def test_its_picture_is_drawn_by_the_script(script):
    row = script.asked()
    assert row.right
    assert f"<!-- picture -->\n{script.caption(row)}\n<!-- end picture -->" in PAGE
    assert script.OUT.stat().st_size < 200_000
    committed = np.asarray(Image.open(script.OUT).convert("RGB"), dtype=int)
    drawn = np.asarray(script.picture([row]), dtype=int)
    assert committed.shape == drawn.shape
    assert (abs(committed - drawn) > 8).any(
        -1
    ).mean() < 0.02  # of fonts and ties that fell otherwise


def test_one_large_model_answers_sooner_and_others_do_not():
    assert "A LLaVA-OneVision of 7B answers sooner. On a fast GPU one of 0.5B does not" in WORDS
    assert "nor does Qwen2.5-VL" in WORDS
    reduced = [
        row
        for row in rows("first_token_cuda", frames=32)
        if row["condition"] not in {"without foveate", "unreduced"}
    ]
    assert len(reduced) >= 9
    for row in reduced:
        assert (row["lowest"] > 1) == (row["shape"] == "onevision-7b"), row["condition"]


def test_on_a_cpu_it_takes_a_shorter_encoder():
    assert "on two CPU cores the 0.5B does where the encoder, too, has fewer patches" in WORDS
    for row in rows("first_token", shape="onevision-0.5b", frames=8):
        assert (row["lowest"] > 1) == ("encoder" in row["condition"])


def test_tokens_a_second_hardly_change():
    assert "Tokens a second (timed with cuDNN's attention off) hardly change" in WORDS
    rates = [row["tokens_per_second"] for row in rows("decode_cuda")]
    assert max(rates) / min(rates) < 1.05
    assert min(row["kv_share"] for row in rows("decode_cuda")) < 0.2


def test_diversity_keeps_text_and_similarity_loses_it():
    assert "merging by similarity loses text, and choosing by diversity keeps it" in WORDS
    (whole,) = rows("zoo", method="unreduced", task="ocr")
    read = {row["method"]: row["accuracy"] for row in rows("zoo", budget=0.25, task="ocr")}
    assert all(whole["accuracy"] - read[name] > 0.3 for name in ("aim-merge", "aim", "tome"))
    assert all(whole["accuracy"] - read[name] < 0.1 for name in ("fovea", "divprune", "cdpruner"))
