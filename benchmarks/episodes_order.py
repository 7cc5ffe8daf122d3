"""Which picture should a conversation give up first: the oldest, or the least used? On the val split.

    python -m benchmarks.episodes_order

The episodes and settings of `benchmarks.episodes`, with two measures of use beside age. Both go by the
attention that a turn's last row (from which its answer begins) pays to the visual rows of each picture,
mean over layers and heads. `least attended`: the picture goes first that got the least of it, mean over
the turns since it was shown. `longest unseen`: the one goes first that no turn has looked at for longest;
a turn looks at its own picture, and at that of the earlier ones that got the most attention. The newest
picture goes last under every order.

Every episode is a line of a file: run the same command again after a kill and it goes on. The summary
goes to the part "order" of results/episodes.json.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest import mock

import torch
from torch import Tensor

import foveate
from benchmarks.episodes import Setting, difference, held
from foveate.ask.memory import Memory
from foveate.ask.vlm import VLM
from foveate.records.conditions import conditions
from foveate.records.journal import Journal
from foveate.runtime import forget
from foveate.runtime.watch_attention import watch
from foveate.scenes import episodes
from foveate.scenes.episodes import FAMILIES

ROOT = Path(__file__).parent.parent
OLDEST, LEAST, UNSEEN = "oldest", "least attended", "longest unseen"
SETTINGS = (Setting("fovea-merge", 0.125, 300), Setting("fovea-merge", 0.125, 150))


class Uses:
    """How much each picture of one conversation was looked at.

    Attributes:
        attention: by picture, of all later turns.
        seen: by picture, the last turn that looked at it.
        turn: the number of the turn, from 0.
    """

    def __init__(self) -> None:
        self.attention: dict[int, float] = {}
        self.seen: dict[int, int] = {}
        self.turn = -1
        self.rows: list[Tensor | None] = []  # of each layer, before the turn
        self.now: dict[int, float] = {}  # attention of this turn

    def look(self, layer: int, query: Tensor, key: Tensor, scaling: float | None) -> None:
        """Add what the last row pays to the rows that a layer held."""
        rows = self.rows[layer] if layer < len(self.rows) else None
        if rows is None:
            return
        heads = query.shape[1] // key.shape[1]
        keys = key[0].repeat_interleave(heads, dim=0).float()
        scale = 1 / math.sqrt(query.shape[-1]) if scaling is None else scaling
        paid = (keys @ query[0, :, -1, :, None].float() * scale)[..., 0].softmax(-1).mean(0)
        for picture in rows[rows >= 0].unique().tolist():
            share = float(paid[: len(rows)][rows == picture].sum())
            self.now[picture] = self.now.get(picture, 0.0) + share

    def end_turn(self) -> None:
        """Keep what this turn looked at."""
        self.turn += 1
        for picture, share in self.now.items():
            self.attention[picture] = self.attention.get(picture, 0.0) + share
        self.seen[self.turn] = self.turn
        if self.now:
            self.seen[max(self.now, key=lambda picture: self.now[picture])] = self.turn
        self.rows, self.now = [], {}

    def order(self, name: str, pictures: list[int]) -> list[int]:
        """Pictures in the order in which they are given up."""
        use = self.seen
        if name == LEAST:
            use = {one: paid / (self.turn - one) for one, paid in self.attention.items()}
        return sorted(pictures, key=lambda one: (one == self.turn, use.get(one, 0), one))


@contextmanager
def given_up_by(vlm: VLM, name: str) -> Iterator[None]:
    """While open, conversations give up pictures in another order; one conversation at a time."""
    if name == OLDEST:
        yield
        return
    uses, answer, forgets = Uses(), Memory.answer, forget.forget_oldest

    def watched(memory: Memory, inputs: dict[str, Tensor], count: int) -> list[int]:
        uses.rows = list(forget.shown_rows(memory.cache))
        return answer(memory, inputs, count)

    def in_order(cache: Any, most: int) -> None:
        uses.end_turn()
        forgets(cache, most)

    def stays(shown: Tensor, most: int) -> Tensor:
        order = uses.order(name, shown[shown >= 0].unique().tolist())
        rank = shown.new_tensor([order.index(n) if n >= 0 else -1 for n in shown.tolist()])
        return oldest(rank, most)

    oldest, llm = forget.stays_within, vlm.family.language_model(vlm.model.model)
    watchers = {
        layer.self_attn: partial(uses.look, number) for number, layer in enumerate(llm.layers)
    }
    with (
        mock.patch.object(Memory, "answer", watched),
        mock.patch.object(forget, "stays_within", stays),
        mock.patch("foveate.ask.memory.forget_oldest", in_order),
        watch(llm.config, watchers),
    ):
        yield


def main() -> None:
    """Parse, ask what the file lacks, summarise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--questions", type=int, default=80, help="episodes")
    parser.add_argument("--first", type=int, default=1000, help="number of the first episode")
    parser.add_argument("--records", type=Path, default=ROOT / "runs" / "episodes-order.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "episodes.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    journal, vlm = Journal(arguments.records), foveate.load()
    until = arguments.first + arguments.questions
    done = {(row["order"], row["setting"], row["index"]) for row in journal}
    todo = [
        (order, setting, index)
        for index in range(arguments.first, until)
        for setting in SETTINGS
        for order in (OLDEST, LEAST, UNSEEN)
        if (order, setting.name, index) not in done
    ]
    began = time.monotonic()
    for count, (order, setting, index) in enumerate(todo):
        with given_up_by(vlm, order):
            told = held(vlm, setting, episodes.make("val", index))
        journal.append({"order": order, "setting": setting.name, "index": index, **told})
        left = (time.monotonic() - began) / (count + 1) * (len(todo) - count - 1)
        sys.stderr.write(f"\r{count + 1}/{len(todo)}, {left / 60:.0f} min left    ")
    record = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    record["order"] = {
        "conditions": conditions(threads=1), "split": "val", "first": arguments.first,
        "n": arguments.questions,
        "rows": rows_of([row for row in journal if row["index"] < until]),
    }  # fmt: skip
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(json.dumps(record["order"]["rows"]) + "\n")


def rows_of(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy of each family under each order, and how far it is from oldest first."""
    cells: dict[tuple[str, str], dict[int, Any]] = {}
    for line in lines:
        cells.setdefault((line["setting"], line["order"]), {})[line["index"]] = line
    rows = []
    for (setting, order), cell in cells.items():
        base = cells[setting, OLDEST]
        shared = sorted(set(cell) & set(base))
        own, oldest = ([part[index] for index in shared] for part in (cell, base))
        families = {
            family: {
                "accuracy": fmean([row["right"][place] for row in own]),
                "to_oldest": difference(oldest, own, place),
            }
            for place, family in enumerate(FAMILIES)
        }
        rows.append({"setting": setting, "order": order, "n": len(own), "families": families})
    return rows


if __name__ == "__main__":
    main()
