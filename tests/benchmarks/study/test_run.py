"""The study in tiny: cells that train, are written down, and are not trained again."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.study import pretrain
from benchmarks.study.cells import COUNTS, SEEDS, TRAINING_FREE, Cell, cells
from benchmarks.study.clips import LENGTH, clips, stills
from benchmarks.study.pictures import FEWEST, MOST, PATCHES, SEED, draw
from benchmarks.study.run import Study
from benchmarks.study.sizes import SIZES, fresh, parameters
from foveate.compress.divprune import DivPrune
from foveate.scenes import make
from recipes.foveate_mini.tower import pixels_of

TRAINED = (
    Cell("40k", "tokenpacker", 4, 0),
    Cell("40k", "quecc", 1, 0),
    Cell("40k", "tokenpacker", 4, 0, frames=2),
    Cell("40k", "divprune", 9, 0),
)


def test_four_cells_are_trained_once(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    for cell in TRAINED:
        study.run(cell)
    rows = list(study.journal)
    made = [row for row in rows if row["kind"] != "rate"]
    assert [row["kind"] for row in made] == ["reader", *["cell"] * len(TRAINED)]
    for cell, row in zip(TRAINED, made[1:], strict=True):
        assert row["compressor"] == cell.compressor
        assert row["parameters"] == 40448
        assert len(row["val"]) == len(row["test"]) == (6 if cell.frames else 12)
    monkeypatch.setattr("benchmarks.study.run.train", lambda *_: pytest.fail("trained again"))
    for cell in TRAINED:
        study.run(cell)
    assert list(study.journal) == rows


@pytest.mark.parametrize("best", [2.5e-4, 4e-3, 3.2e-2])
def test_a_rate_is_looked_for_behind_the_ends(
    study: Study, monkeypatch: pytest.MonkeyPatch, best: float
) -> None:
    """The best of the rates that double, wherever it lies, with a worse one on each side."""
    tried = []

    def loss(study: Study, name: str, peak: float) -> float:
        tried.append(peak)
        return abs(np.log(peak / best))

    monkeypatch.setattr(Study, "_short_loss", loss)
    assert study.rate("40k") == pytest.approx(best)
    assert min(tried) < 0.75 * best < 1.5 * best < max(tried)


def test_a_method_without_training_reads_what_it_leaves(study: Study) -> None:
    """Of a model of all patches, as the method called on those patches leaves them."""
    cell = Cell("40k", "divprune", 9, 0)
    merged, whole = study._trained(cell)[0], study._trained(cell.source)[0]
    pictures = study.pictures["val"]
    levels, asked = pictures.batch([0, 3]), [pictures.questions[row] for row in (0, 3)]
    visual, _ = whole.visual(levels, asked, PATCHES)
    left, _ = merged.visual(levels, asked, 9)
    assert torch.equal(left, DivPrune(keep=9 / PATCHES)(visual).features)
    assert left.shape[1] == 9
    assert len(merged.right(pictures, 9)) == len(pictures.questions)


@pytest.mark.parametrize("name", TRAINING_FREE)
def test_every_method_without_training_leaves_what_is_asked_for(study: Study, name: str) -> None:
    cell = Cell("40k", name, 4, 0)
    pictures = study.pictures["val"]
    asked = [pictures.questions[row] for row in (0, 3)]
    left, _ = study._trained(cell)[0].visual(pictures.batch([0, 3]), asked, 4)
    assert left.shape[:2] == (2, 4)


def test_a_reader_goes_on_where_it_was_killed(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before the third of four steps and started again, it ends with the same weights."""
    whole = study.reader("40k", 0).state_dict()
    (path,) = study.folder.glob("40k-0-*.pt")
    path.unlink()
    monkeypatch.setattr(pretrain, "SAVE_EVERY", 2)
    adjust, steps = pretrain.set_learning_rate, []

    def stop_at_the_third(*arguments: Any) -> None:
        steps.append(arguments)
        if len(steps) == 3:
            raise KeyboardInterrupt
        adjust(*arguments)

    with monkeypatch.context() as during:
        during.setattr(pretrain, "set_learning_rate", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            study.reader("40k", 0)
    resumed = study.reader("40k", 0).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_model_of_another_recipe_is_not_taken_from_disk(study: Study) -> None:
    """Readers and cells that lie there were trained otherwise, and are trained anew."""
    before = study._trained(TRAINED[0])[0].model.state_dict()
    longer = replace(study.recipes, picture=replace(study.recipes.picture, steps=5))
    after = replace(study, recipes=longer)._trained(TRAINED[0])[0].model.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    reader = replace(study.recipes, reader=replace(study.recipes.reader, steps=6))
    study.reader("40k", 0)
    replace(study, recipes=reader).reader("40k", 0)
    assert len(list(study.folder.glob("40k-0-*.pt"))) == 2


def test_two_seeds_everywhere_and_a_third_on_the_corners() -> None:
    grid = list(cells())
    assert len(set(grid)) == len(grid)
    third = {(cell.size, cell.tokens) for cell in grid if cell.seed == SEEDS[-1]}
    assert third == {(size, count) for size in ("40k", "1.3M") for count in (1, 144)}
    for seed in SEEDS[:2]:
        mine = [cell for cell in grid if cell.seed == seed and cell.frames is None]
        packed = {(cell.size, cell.tokens) for cell in mine if cell.compressor == "tokenpacker"}
        assert packed == {(size, tokens) for size in SIZES for tokens in COUNTS}


def test_fitted_sizes_span_a_thirty_fold_range(mini: SimpleNamespace) -> None:
    """Of non-embedding parameters; the held-out size is larger than all of them."""
    counted = {
        name: parameters(fresh(size, mini, 0).model.language_model) for name, size in SIZES.items()
    }
    held_out = {name for name, size in SIZES.items() if size.is_held_out}
    fitted = [count for name, count in counted.items() if name not in held_out]
    assert len(fitted) >= 5
    assert max(fitted) >= 30 * min(fitted)
    assert [counted[name] > max(fitted) for name in held_out] == [True]


def test_pictures_are_crowded() -> None:
    counts = {len(draw("reasoning", "val", index).marks[0]) for index in range(40)}
    assert counts == set(range(FEWEST, MOST + 1))


def test_frames_that_are_equal_are_encoded_once(mini: SimpleNamespace, tmp_path: Path) -> None:
    """What a model sees of a clip is what the tower makes of its frames at even distances."""
    tower = mini.model.model.vision_tower
    made = clips(tower, "val", 3, tmp_path)
    samples = [make("video", "val", index, seed=SEED, length=LENGTH) for index in range(3)]
    assert len(stills(samples)[0]) == len(made.stills.states) < 3 * LENGTH
    seen = made.seen(4).batch([2, 0])[-1]
    frames = np.stack([samples[row].frame(at) for row in (2, 0) for at in (0, 5, 10, 15)])
    with torch.no_grad():
        wanted = tower(pixels_of(frames), output_hidden_states=True).hidden_states[-1]
    assert seen is not None
    assert seen.shape == (8, PATCHES, 32)
    torch.testing.assert_close(seen, wanted.half().float(), atol=1e-2, rtol=1e-2)
