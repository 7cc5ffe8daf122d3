"""The study in tiny: three cells that train, are written down, and are not trained again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import foveate
from benchmarks.compressors.draw import RivalRecipe
from benchmarks.compressors.features import pictures
from benchmarks.study.cells import COUNTS, SEEDS, Cell, cells
from benchmarks.study.clips import LENGTH, clips, stills
from benchmarks.study.pictures import FEWEST, MOST, PATCHES, SEED, draw, helps
from benchmarks.study.pretrain import Pretraining
from benchmarks.study.run import Recipes, Study
from benchmarks.study.sizes import SIZES, parameters
from foveate.records.journal import Journal
from foveate.scenes import make

READER = Pretraining(steps=4, pictures=4, questions=2, peaks=[2e-3, 1e-3], tried=2, warmup=1)
CELL = RivalRecipe(steps=4, pictures=4, questions=2, ocr=0.25)
TINY = Recipes(READER, CELL, replace(CELL, first_stage=0.0, ocr=0.0, lookups=1.0))
TRAINED = (
    Cell("40k", "tokenpacker", 4, 0),
    Cell("40k", "quecc", 1, 0),
    Cell("40k", "tokenpacker", 4, 0, frames=2),
)


@pytest.fixture(scope="module")
def mini() -> Any:
    return foveate.load("foveate-mini")


@pytest.fixture
def study(mini: Any, tmp_path: Path) -> Study:
    """The study with a dozen pictures and clips of each split."""
    tower = mini.model.model.vision_tower
    splits = ("train", "val", "test")
    return Study(
        mini=mini,
        pictures={split: pictures(tower, split, 12, tmp_path, draw) for split in splits},
        clips={split: clips(tower, split, 6, tmp_path) for split in splits},
        helps=helps(mini.processor.tokenizer, 12, tmp_path),
        recipes=TINY,
        journal=Journal(tmp_path / "study.jsonl"),
        folder=tmp_path,
        conditions={"commit": None},
        say=lambda line: None,
    )


def test_three_cells_are_trained_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell leaves a record with its answers; a second call finds it and trains nothing."""
    for cell in TRAINED:
        study.run(cell)
    rows = list(study.journal)
    kinds = [row["kind"] for row in rows]
    assert kinds == ["rate", "rate", "reader", "cell", "cell", "cell"]
    for cell, row in zip(TRAINED, rows[3:], strict=True):
        assert (row["size"], row["compressor"], row["tokens"]) == (
            "40k",
            cell.compressor,
            cell.tokens,
        )
        asked = 6 if cell.frames else 12
        assert len(row["val"]) == len(row["test"]) == asked
        assert row["parameters"] == 40448
    monkeypatch.setattr("benchmarks.study.run.train", lambda *_: pytest.fail("trained again"))
    for cell in TRAINED:
        study.run(cell)
    assert list(study.journal) == rows


def test_a_reader_goes_on_where_it_was_killed(study: Study) -> None:
    """Stopped between two steps and started again, it ends with the same weights."""
    whole = study.reader("40k", 0).state_dict()
    (study.folder / "40k-0.pt").unlink()

    class Killed(Exception):
        pass

    import benchmarks.study.pretrain as module

    steps, patched = 0, pytest.MonkeyPatch()

    def killed_after_two(*arguments: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise Killed
        return adjusted(*arguments)

    adjusted = module.set_learning_rate
    patched.setattr(module, "SAVE_EVERY", 2)
    with patched.context() as during, pytest.raises(Killed):
        during.setattr(module, "set_learning_rate", killed_after_two)
        study.reader("40k", 0)
    resumed = study.reader("40k", 0).state_dict()
    patched.undo()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_grid_is_the_one_that_is_told() -> None:
    """Two seeds everywhere, a third on the corners; every count and size, the held-out one, too."""
    grid = list(cells())
    assert len(set(grid)) == len(grid)
    third = [cell for cell in grid if cell.seed == SEEDS[-1]]
    assert {(cell.size, cell.tokens) for cell in third} == {
        (size, tokens) for size in ("40k", "1.3M") for tokens in (COUNTS[0], COUNTS[-1])
    }
    packed = {(c.size, c.tokens) for c in grid if c.compressor == "tokenpacker" and not c.frames}
    assert packed == {(size, tokens) for size in SIZES for tokens in COUNTS}


def test_sizes_span_a_thirty_fold_range(mini: Any) -> None:
    """Of non-embedding parameters, the held-out size not counted."""
    from benchmarks.study.sizes import fresh

    counted = {
        name: parameters(fresh(size, mini, 0).model.language_model) for name, size in SIZES.items()
    }
    fitted = [counted[name] for name, size in SIZES.items() if not size.is_held_out]
    assert len(fitted) >= 5 and max(fitted) >= 30 * min(fitted)
    assert max(counted.values()) > max(fitted)


def test_pictures_are_crowded() -> None:
    """A picture of digits has three to five."""
    counts = {len(draw("reasoning", "val", index).marks[0]) for index in range(40)}
    assert counts == set(range(FEWEST, MOST + 1))


def test_frames_that_are_equal_are_encoded_once(mini: Any, tmp_path: Path) -> None:
    """What a model sees of a clip is what the tower makes of the frames at even distances."""
    made = clips(mini.model.model.vision_tower, "val", 3, tmp_path)
    samples = [make("video", "val", index, seed=SEED, length=LENGTH) for index in range(3)]
    assert len(stills(samples)[0]) == len(made.stills.states) < 3 * LENGTH
    seen = made.seen(4).batch([2, 0])[-1]
    assert seen is not None
    assert seen.shape[:2] == (8, PATCHES)
    from recipes.foveate_mini.tower import pixels_of

    frames = np.stack([samples[row].frame(at) for row in (2, 0) for at in (0, 5, 10, 15)])
    with torch.no_grad():
        wanted = mini.model.model.vision_tower(pixels_of(frames)).last_hidden_state
    assert seen.shape == wanted.shape
    states = mini.model.model.vision_tower(pixels_of(frames), output_hidden_states=True)
    torch.testing.assert_close(seen, states.hidden_states[-1].half().float(), atol=2e-2, rtol=2e-2)
