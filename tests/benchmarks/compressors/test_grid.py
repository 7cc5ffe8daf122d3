"""A run that was killed goes on: the same rows, nothing twice."""

import pytest

from benchmarks.compressors.cell import COUNTS
from benchmarks.compressors.grid import Grid
from foveate.records.journal import Journal


@pytest.fixture
def grid(vlm, sets, quick):
    return lambda path: Grid(vlm, sets, quick, Journal(path), {"cpu": None}, lambda line: None)


def cells(path):
    """Rows without the time they took."""
    rows = [dict(row) for row in Journal(path)]
    for row in rows:
        row.pop("cpu_seconds", None)
    return rows


def test_a_killed_run_goes_on_with_the_same_rows(grid, tmp_path):
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    order = [("quecc", 1, 0), ("average-pool", 4, 1)]
    for cell in order:
        grid(whole).run(*cell)
    lines = whole.read_text().splitlines(keepends=True)
    cut.write_text("".join(lines[:2]) + lines[2][:100])  # killed while the last row was written
    for cell in order:
        grid(cut).run(*cell)
    assert cells(cut) == cells(whole)
    again = whole.read_text()
    for cell in order:
        grid(whole).run(*cell)
    assert whole.read_text() == again


def test_elastic_rivals_are_trained_once_and_asked_at_all_counts(grid, tmp_path):
    path = tmp_path / "journal.jsonl"
    grid(path).run("mqt", 1, 0)
    grid(path).run("mqt", 16, 0)
    asked, *rows = cells(path)
    assert [row["tokens"] for row in rows] == sorted(COUNTS)
    assert len({str(row["losses"]) for row in rows}) == 1
    for split, families in asked["asked"].items():
        assert all(len(row[split]) == len(families) for row in rows)
        assert all(set(row[split]) <= {"0", "1"} for row in rows)


def test_another_recipe_is_another_cell(vlm, sets, quick, grid, tmp_path):
    from dataclasses import replace

    path = tmp_path / "journal.jsonl"
    grid(path).run("average-pool", 1, 0)
    other = replace(grid(path), recipe=replace(quick, steps=2))
    other.run("average-pool", 1, 0)
    assert [row["recipe"]["steps"] for row in cells(path)[1:]] == [3, 2]
