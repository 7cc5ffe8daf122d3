"""All cells of the comparison: trained, asked, and each written to the journal when it is finished."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from benchmarks.compressors.cell import COUNTS, RIVALS, Trainee, train
from benchmarks.compressors.draw import RivalRecipe
from benchmarks.compressors.features import Pictures
from benchmarks.compressors.summary import KINDS, chosen
from foveate.records.journal import Journal
from recipes.foveate_mini.packing import Packer

EVERY = 100  # steps between two lines of progress, and between two losses in the journal
ASKED = ("val", "test")


@dataclass(frozen=True)
class Grid:
    """What all cells have in common.

    Attributes:
        vlm: the loaded foveate-mini.
        sets: pictures of "train", "val" and "test".
        recipe: how every cell is trained.
        journal: where finished cells are written down; those it holds are not run again.
        conditions: what this runs on.
        say: takes one line of progress.
    """

    vlm: Any
    sets: dict[str, Pictures]
    recipe: RivalRecipe
    journal: Journal
    conditions: dict[str, Any]
    say: Callable[[str], None]

    def run(self, name: str, tokens: int, seed: int) -> None:
        """Train one cell unless the journal has it, and ask at every count that this training serves."""
        rival = RIVALS[name]
        counts = COUNTS if rival.elastic else (tokens,)
        same = {"rival": name, "seed": seed, "recipe": asdict(self.recipe)}
        same["settings"] = asdict(rival)
        same["pictures"] = {split: len(one.questions) for split, one in self.sets.items()}
        rows = list(self.journal)
        held = {row["tokens"] for row in rows if all(row.get(k) == v for k, v in same.items())}
        if set(counts) <= held:
            return
        families = {
            split: [one.family for row in self.sets[split].questions for one in row]
            for split in ASKED
        }
        if {"asked": families} not in rows:
            self.journal.append({"asked": families})
        trainee = Trainee(self.vlm.model, Packer(self.vlm.processor.tokenizer), rival, tokens, seed)
        losses: list[float] = []

        def report(step: int, loss: float) -> None:
            losses.append(loss)
            if step % EVERY == 0:
                mean = fmean(losses[-EVERY:])
                self.say(f"{name} {tokens} seed {seed}: {step}/{self.recipe.steps} loss {mean:.3f}")

        seconds = train(trainee, self.sets["train"], rival, tokens, self.recipe, seed, report)
        means = [fmean(losses[at : at + EVERY]) for at in range(0, len(losses), EVERY)]
        for count in sorted(set(counts) - held):
            answers = {
                split: "".join("01"[hit] for hit in trainee.right(self.sets[split], count))
                for split in ASKED
            }
            row = same | {"tokens": count, "cpu_seconds": seconds, "losses": means} | answers
            self.journal.append(row | {"conditions": self.conditions})
            self.say(
                f"## {name} {count} seed {seed}: val {shares(answers['val'], families['val'])}"
            )


def shares(answers: str, families: list[str]) -> str:
    """Share of right answers of each kind, for the eye."""
    told = []
    for kind in KINDS:
        mine = [a == "1" for a, here in zip(answers, chosen(families, kind), strict=True) if here]
        told.append(f"{kind} {fmean(mine):.3f}" if mine else f"{kind} none")
    return ", ".join(told)
