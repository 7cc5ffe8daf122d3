"""What does a conversation remember? foveate-mini on episodes of screens, by what is held of them.

    python -m benchmarks.episodes
    python -m benchmarks.episodes --split val --questions 50 --seed 0

Each screen is a turn of one `foveate.Conversation` with a question of its own; each of the questions
behind the last screen goes on from there by itself (`foveate.scenes.episodes` says which). Settings are
told apart by what a turn's pictures are reduced to, by how many visual tokens the conversation may hold,
and by whether it begins anew with the last few screens. foveate-mini's processor knows one size of
picture, so a smaller picture is `resize-grid`: its visual tokens resampled to a coarser grid. KV bytes
and visual tokens (mean over layers) are those held behind the last screen's turn. Differences come
paired with a bootstrap interval.

Every episode under a setting is a line of a file, all settings of an episode before the next: run the
same command again after a kill and it goes on. The summary goes to results/episodes.json, a part a split.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import foveate
from foveate.ask.vlm import VLM
from foveate.measure.run.worker import fingerprint
from foveate.records.conditions import conditions
from foveate.records.intervals import paired_difference
from foveate.records.journal import Journal
from foveate.scenes import episodes
from foveate.scenes.episodes import FAMILIES, Episode

ROOT = Path(__file__).parent.parent
KEPT = "everything kept"
LONGEST = 4  # tokens of an answer
NEAR = 4  # screens ago, at most


@dataclass(frozen=True)
class Setting:
    """How a conversation is held.

    Attributes:
        method: what each turn's pictures are reduced by; "unreduced" for nothing.
        keep: share of their visual tokens that is left.
        most: visual tokens that a layer may hold; None for any.
        last: screens that a conversation begun anew has read; None for all.
    """

    method: str = "unreduced"
    keep: float = 1.0
    most: int | None = None
    last: int | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        what = self.method if self.keep == 1 else f"{self.method} {self.keep:g}"
        if self.last is not None:
            return f"{what}, the last {self.last} screens alone"
        return f"{what}, {KEPT if self.most is None else f'at most {self.most}'}"

    def begin(self, vlm: VLM) -> foveate.Conversation:
        """An empty conversation."""
        named = self.method != "unreduced"
        reduction = foveate.create(self.method, keep=self.keep) if named else None
        return foveate.Conversation(vlm, reduction, self.most)


SETTINGS = (
    Setting(),
    Setting(most=600),
    Setting(most=300),
    Setting(last=2),
    Setting("fovea-merge", 0.125),
    Setting("fovea-merge", 0.125, 300),
    Setting("fovea-merge", 0.125, 150),
    Setting("fovea-merge", 0.0625),
    Setting("aim-merge", 0.125),
    Setting("aim-merge", 0.125, 300),
    Setting("resize-grid", 0.125),
    Setting("aim", 0.25),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
PAIRS = (  # at about as many tokens: the first minus the second
    (Setting("fovea-merge", 0.125, 300), Setting(most=300)),
    (Setting("fovea-merge", 0.0625), Setting("fovea-merge", 0.125, 300)),
    (Setting("fovea-merge", 0.125), Setting(most=600)),
    (Setting("fovea-merge", 0.125), Setting("resize-grid", 0.125)),
    (Setting("fovea-merge", 0.125), Setting("aim-merge", 0.125)),
    (Setting(most=600), Setting(last=2)),
)


def main() -> None:
    """Parse, ask what the file lacks, summarise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="foveate-mini")
    parser.add_argument("--split", default="test", choices=("val", "test"))
    parser.add_argument("--questions", type=int, default=200, help="episodes")
    parser.add_argument("--first", type=int, default=0, help="number of the first episode")
    parser.add_argument("--seed", type=int, default=41, help="of the episodes")
    parser.add_argument("--settings", nargs="+", default=list(BY_NAME), choices=BY_NAME)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--records", type=Path, help="the answers; default under runs/")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "episodes.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    journal = Journal(
        arguments.records or ROOT / "runs" / f"episodes-{arguments.split}-{arguments.seed}.jsonl"
    )
    vlm = foveate.load(arguments.model)
    names = [name for name in BY_NAME if name in arguments.settings]
    run(vlm, arguments, names, journal)
    record = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    record[arguments.split] = {
        "conditions": conditions(threads=arguments.threads), "model": arguments.model,
        "weights": fingerprint(vlm.model), "seed": arguments.seed,
        **summarise(list(journal), names),
    }  # fmt: skip
    arguments.out.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(json.dumps(record[arguments.split]["rows"]) + "\n")


def run(vlm: VLM, arguments: argparse.Namespace, names: list[str], journal: Journal) -> None:
    """Ask all that the journal has no answers to, and say how long the rest will take."""
    done = {(row["setting"], row["index"]) for row in journal}
    todo = [
        (name, index)
        for index in range(arguments.first, arguments.first + arguments.questions)
        for name in names
        if (name, index) not in done
    ]
    began, episode = time.monotonic(), None
    for count, (name, index) in enumerate(todo):
        if episode is None or episode.index != index:
            episode = episodes.make(arguments.split, index, arguments.seed)
        journal.append({"setting": name, "index": index, **held(vlm, BY_NAME[name], episode)})
        left = (time.monotonic() - began) / (count + 1) * (len(todo) - count - 1)
        sys.stderr.write(f"\r{count + 1}/{len(todo)}, {left / 60:.0f} min left, {name}    ")
    sys.stderr.write("\n")


def held(vlm: VLM, setting: Setting, episode: Episode) -> dict[str, Any]:
    """What is said in and behind an episode, and what is held of it."""
    talk = setting.begin(vlm)
    first = 0 if setting.last is None else len(episode.screens) - setting.last
    turns = [
        (question, talk.ask(screen.images(), question.text, LONGEST).text)
        for screen, question in list(zip(episode.screens, episode.turns, strict=True))[first:]
    ]
    kv_bytes, visual = talk.kv_bytes, fmean(talk.visual_tokens)
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        talk.save(file.name)
        said = [
            foveate.Conversation.load(vlm, file.name).ask(None, question.text, LONGEST).text
            for question in episode.last
        ]
    own = [text == question.answer for question, text in turns if question.family == "own"]
    return {
        "screens": len(episode.screens),
        "ago": [len(episode.screens) - 1 - number for number in episode.about],
        "said": said,
        "right": [int(text == q.answer) for text, q in zip(said, episode.last, strict=True)],
        "own_turns": fmean([float(right) for right in own]),
        "kv_bytes": kv_bytes,
        "visual_tokens": visual,
    }


def summarise(lines: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """A row a setting, over the episodes of the file that all of them were asked about."""
    cells: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in names}
    for line in lines:
        if line["setting"] in cells:
            cells[line["setting"]][line["index"]] = line
    shared = sorted(set.intersection(*(set(cell) for cell in cells.values())))
    rows = {name: [cell[index] for index in shared] for name, cell in cells.items()}
    unreduced = rows[names[0]]
    return {
        "n": len(shared),
        "screens": fmean([row["screens"] for row in unreduced]),
        "rows": [
            {
                "setting": name,
                **asdict(BY_NAME[name]),
                "kv_bytes": fmean([row["kv_bytes"] for row in own]),
                "visual_tokens": fmean([row["visual_tokens"] for row in own]),
                "own_turns": fmean(own_turns(own)),
                "families": families(own, unreduced, rows.get(kept_of(name))),
            }
            for name, own in rows.items()
        ],
        "pairs": [
            {
                "of": of.name,
                "to": to.name,
                "own_turns": asdict(
                    paired_difference(own_turns(rows[to.name]), own_turns(rows[of.name]))
                ),
                "families": {
                    family: difference(rows[to.name], rows[of.name], place)
                    for place, family in enumerate(FAMILIES)
                },
            }
            for of, to in PAIRS
            if {of.name, to.name} <= rows.keys()
        ],
    }


def own_turns(rows: list[dict[str, Any]]) -> list[float]:
    """For each episode the share of right answers about the screen that was just shown."""
    return [row["own_turns"] for row in rows]


def kept_of(name: str) -> str:
    """The setting that differs in keeping everything alone."""
    setting = BY_NAME[name]
    return Setting(setting.method, setting.keep).name


def families(
    own: list[dict[str, Any]],
    unreduced: list[dict[str, Any]],
    kept: list[dict[str, Any]] | None,
) -> dict[str, Any]:
    """For each family accuracy, and how far it is from the first setting and from everything kept."""
    found = {}
    for place, family in enumerate(FAMILIES):
        right = [row["right"][place] for row in own]
        near = [row["right"][place] for row in own if row["ago"][place] <= NEAR]
        far = [row["right"][place] for row in own if row["ago"][place] > NEAR]
        found[family] = {
            "accuracy": fmean(right),
            "near": {"n": len(near), "accuracy": fmean(near) if near else None},
            "far": {"n": len(far), "accuracy": fmean(far) if far else None},
            "to_unreduced": difference(unreduced, own, place),
            "to_everything_kept": None if kept is None else difference(kept, own, place),
        }
    return found


def difference(
    base: list[dict[str, Any]], other: list[dict[str, Any]], place: int
) -> dict[str, float]:
    """Between two settings, of one family."""
    before, after = ([row["right"][place] for row in rows] for rows in (base, other))
    return asdict(paired_difference(before, after))


if __name__ == "__main__":
    main()
