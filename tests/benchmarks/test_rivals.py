"""What docs/concepts/first-token.md says of fewer frames and fewer pixels, held to the record."""

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.rivals import FewerFrames, FewerPixels
from foveate.ask.media import Clip

RECORD = json.loads((Path(__file__).parents[2] / "results" / "rivals.json").read_text())
CELLS = {(row["task"], row["setting"]): row for row in RECORD["rows"]}


def lost(task, setting):
    """Points to the same without it, with their interval."""
    row = CELLS[task, setting]
    return row["difference_to_same_without"] or row["difference"]


@pytest.mark.parametrize(
    ("frames", "patches"),
    [
        ("aim, half of the frames", "aim, encoder 0.5"),
        ("aim, a quarter of the frames", "aim, encoder 0.25"),
    ],
)
def test_fewer_frames_lose_more_than_fewer_patches(frames, patches):
    flops = [CELLS["video", setting]["whole_flops"] for setting in (frames, patches)]
    assert 0.85 < flops[0] / flops[1] < 1.1
    assert lost("video", frames)["high"] < lost("video", patches)["low"]


def test_half_of_the_patches_lose_nothing_of_a_clip_that_can_be_told():
    assert (
        lost("video", "aim, encoder 0.5")["low"] <= 0 <= lost("video", "aim, encoder 0.5")["high"]
    )


def test_large_things_are_as_legible_in_fewer_pixels_and_not_in_fewer_patches():
    pixels = lost("reasoning", "a quarter of the pixels")
    assert pixels["low"] >= 0 > lost("reasoning", "encoder 0.25")["high"]


def test_small_text_loses_more_in_fewer_pixels():
    pixels, patches = (lost("ocr", name) for name in ("a quarter of the pixels", "encoder 0.25"))
    assert pixels["high"] < patches["low"]


def test_frames_and_pixels_are_what_they_say():
    pictures = [Image.new("RGB", (100, 60), (n, n, n)) for n in range(8)]
    (shorter,), question = FewerFrames(0.5)(None, ((Clip(pictures),), "what?"))
    assert [frame.getpixel((0, 0))[0] for frame in shorter.frames] == [0, 2, 5, 7]
    assert question == "what?"
    (smaller,), _ = FewerPixels(0.25)(None, ((pictures[0],), "what?"))
    assert smaller.size == (50, 30)
