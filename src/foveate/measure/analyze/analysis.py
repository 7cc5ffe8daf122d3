"""The papers' analysis of a model as one call, ending in a schedule to start from.

Redundancy of the visual tokens, the attention that text pays them in each layer, and accuracy when all of
them are dropped after a layer, or merged. Source: AIM (arXiv 2412.03248), sections 3 and 4. The schedule
is then tried as a whole, because parts that cost nothing alone may cost something together.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from foveate.ask.media import Sampling
from foveate.ask.vlm import VLM
from foveate.combine.aim import AIM
from foveate.compress.aim import AIMMerge
from foveate.measure.analyze.hiding import agreement
from foveate.measure.analyze.probes import DropAfter, Similarity, attention_received
from foveate.measure.run.answering import answer, shown
from foveate.measure.tasks import Item, Task
from foveate.prune.aim import AIMPrune
from foveate.records.intervals import Difference, paired_difference
from foveate.reduction import Reduction
from foveate.runtime.watch_attention import watch

KEEPS = (0.5, 0.25, 0.125, 0.0625)
MARGIN = 0.02  # accuracy that a suggestion may cost, at the lower end of its interval
WINDOW = 8 / 28  # share of the depth over which AIM's published schedule prunes
MISSED = 0.05  # probability of missing a cost

Prune = tuple[int, int] | None  # start and stop layer


@dataclass(frozen=True)
class Tried:
    """Accuracy under one reduction that was tried.

    Attributes:
        what: "drop after", "keep", "joint" or "score".
        value: the layer, the share, the schedule, or the name of the score.
        accuracy: mean score.
        difference: to unreduced, paired, with its 95 % interval.
    """

    what: str
    value: int | float | str
    accuracy: float
    difference: Difference


@dataclass(frozen=True)
class Analysis:
    """The result of an analysis.

    Attributes:
        layers: depth of the LLM.
        questions: by task.
        accuracy: of the unreduced model.
        neighbours: by task, mean cosine similarity of neighbouring visual tokens of each group.
        merged: by task, mean similarity of the tokens that AIM's first round would merge, of each group.
        visual_mass: for each layer, the share of text's attention that falls on visual tokens.
        first_mass: the share that falls on the first token of the prompt, where language models have
            their attention sink (arXiv 2309.17453).
        peak_mass: of what falls on visual tokens, the share of the one that gets most; a visual sink
            where it is far above one token's part (arXiv 2503.03321).
        without_text: for each layer, the share of questions whose first answer token stays when all other
            text is hidden after it.
        without_visual: the same for visual tokens.
        tried: what each reduction costs; the last "joint" one is the suggested schedule, and those before
            it cost too much; scores are compared over the suggested window, or AIM's.
        prune: suggested start and stop layer, None if no layer may lose its visual tokens.
        keep: suggested share to merge to, 1.0 for no merging.
        unseen: the largest drop in accuracy that may go undetected with so few questions (95 %).
    """

    layers: int
    questions: dict[str, int]
    accuracy: float
    neighbours: dict[str, list[float]]
    merged: dict[str, list[float]]
    visual_mass: list[float]
    first_mass: list[float]
    peak_mass: list[float]
    without_text: list[float]
    without_visual: list[float]
    tried: list[Tried]
    prune: Prune
    keep: float
    unseen: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def analyze(
    vlm: VLM,
    tasks: Sequence[Task],
    samples: int = 50,
    sampling: Sampling | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Analysis:
    """Analyse a model on questions.

    Args:
        vlm: the model.
        tasks: what is asked.
        samples: questions a task, at most.
        sampling: frames taken from clip files.
        progress: called with how many passes over the questions are done, and of how many.
    """
    layers = len(vlm.family.language_model(vlm.model.model).layers)
    questions = [
        (task, task.item(index))
        for task in tasks
        for index in range(min(samples, task.size or samples))
    ]
    prompts = [
        vlm.batch([(shown(item, sampling or Sampling()), item.question)]) for _, item in questions
    ]
    trials = Trials(vlm, questions, prompts, progress, total=4 + (layers - 1) + len(KEEPS) + 1 + 2)
    names = [task.name for task, _ in questions]
    masses = attention_masses(vlm, prompts)
    neighbours, merged = redundancy(vlm, names, prompts)
    without_text, without_visual = (agreement(vlm, prompts, hide=w) for w in ("text", "visual"))
    trials.passed(3)
    rows = [
        trials.tried("drop after", layer, Reduction(inside=DropAfter(layer)))
        for layer in range(layers - 1)
    ]
    rows += [trials.tried("keep", keep, Reduction(before=AIMMerge(keep))) for keep in KEEPS]
    joint, prune, keep = step_back(trials, suggest(rows, layers), layers)
    rows += joint
    rows += [
        trials.tried("score", name, Reduction(inside=pruner))
        for name, pruner in scores_of(prune or AIMPrune().prune).items()
    ]
    return Analysis(
        layers=layers,
        questions={name: names.count(name) for name in dict.fromkeys(names)},
        accuracy=fmean(trials.base),
        neighbours=neighbours,
        merged=merged,
        visual_mass=masses["visual"],
        first_mass=masses["first"],
        peak_mass=masses["peak"],
        without_text=without_text,
        without_visual=without_visual,
        tried=rows,
        prune=prune,
        keep=keep,
        unseen=1 - MISSED ** (1 / len(questions)),
    )


class Trials:
    """The same questions under one reduction after another, each compared with unreduced.

    Attributes:
        base: scores of the unreduced model.
    """

    def __init__(
        self,
        vlm: VLM,
        questions: Sequence[tuple[Task, Item]],
        prompts: Sequence[dict[str, Any]],
        progress: Callable[[int, int], None],
        total: int,
    ) -> None:
        self.vlm, self.questions, self.prompts = vlm, questions, prompts
        self.progress, self.done, self.total = progress, 0, total
        self.base = self.scores(Reduction())

    def passed(self, passes: int) -> None:
        """Count more passes over the questions as done."""
        self.done += passes
        self.progress(self.done, self.total)

    def scores(self, reduction: Reduction) -> list[float]:
        """Score of every question."""
        scores = [
            task.score(item, answer(self.vlm, inputs, reduction, task.answer_tokens)[0][0])
            for (task, item), inputs in zip(self.questions, self.prompts, strict=True)
        ]
        self.passed(1)
        return scores

    def tried(self, what: str, value: int | float | str, reduction: Reduction) -> Tried:
        """Accuracy under a reduction, compared with unreduced."""
        scores = self.scores(reduction)
        return Tried(what, value, fmean(scores), paired_difference(self.base, scores))


def scores_of(window: tuple[int | float, int | float]) -> dict[str, AIMPrune]:
    """Importance scores to compare over a window of layers: AIM's, and plain attention received."""
    return {"aim": AIMPrune(window), "attention": AIMPrune(window, temperature=1.0, steps=1)}


def suggest(rows: Sequence[Tried], layers: int) -> tuple[Prune, float]:
    """The schedule to try first, made of parts that pass alone.

    Pruning stops at the first layer after which dropping all visual tokens passes, as it does after every
    later layer; it starts earlier by the width of AIM's published window. Merging goes down to the last
    share that passes.
    """
    passed = {(row.what, row.value): passes(row) for row in rows}
    last = layers
    for layer in reversed(range(layers - 1)):
        if not passed["drop after", layer]:
            break
        last = layer + 1
    prune = None
    if last < layers:
        prune = (max(0, last - max(1, round(WINDOW * layers))), last)
    keep = 1.0
    for share in KEEPS:
        if not passed["keep", share]:
            break
        keep = share
    return prune, keep


def passes(row: Tried) -> bool:
    """Whether the lower end of its interval is a cost of at most `MARGIN`."""
    return row.difference.low >= -MARGIN


def milder(prune: Prune, keep: float, layers: int) -> Iterator[tuple[Prune, float]]:
    """A schedule and milder ones, down to none: by turns a later window and a larger share kept."""
    shares, later = (1.0, *KEEPS), True
    yield prune, keep
    while prune is not None or keep < 1:
        if prune is not None and (later or keep == 1):
            start, stop = prune[0] + 1, min(prune[1] + 1, layers)
            # a drop after the last layer saves nothing
            prune = (start, stop) if start < layers - 1 else None
        else:
            keep = shares[shares.index(keep) - 1]
        later = not later
        yield prune, keep


def step_back(
    trials: Trials, first: tuple[Prune, float], layers: int
) -> tuple[list[Tried], Prune, float]:
    """Run a schedule as a whole, then milder ones, until one passes.

    Returns:
        All results, and the schedule of the last.
    """
    rows: list[Tried] = []
    prune, keep = first
    for prune, keep in milder(*first, layers):
        trials.total += len(rows) > 0
        rows.append(trials.tried("joint", f"keep={keep:g}, prune={prune}", AIM(keep, prune)))
        if passes(rows[-1]):
            break
    return rows, prune, keep


@torch.no_grad()
def attention_masses(vlm: VLM, prompts: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    """For each layer of the unreduced model the mean share of text's attention that falls where.

    Returns:
        "visual": on visual tokens; "first": on the prompt's first token; "peak": of what falls on visual
        tokens, on the one that gets most.
    """
    llm = vlm.family.language_model(vlm.model.model)
    tokens = list(vlm.family.placeholders(vlm.model.config).values())
    sums = {name: [0.0] * len(llm.layers) for name in ("visual", "first", "peak")}
    for inputs in prompts:
        visual = torch.isin(
            inputs["input_ids"], torch.tensor(tokens, device=inputs["input_ids"].device)
        )

        def note(layer: int, visual: Tensor = visual) -> Any:
            def see(query: Tensor, key: Tensor, scaling: float | None) -> None:
                received = attention_received(query, key, visual, scaling)
                on_visual = received * visual
                seen = on_visual.sum(1)
                peak = on_visual.amax(1) / seen.clamp(min=torch.finfo(seen.dtype).tiny)
                masses = {"visual": seen, "first": received[:, 0], "peak": peak}
                for name, mass in masses.items():
                    sums[name][layer] += float(mass.mean())

            return see

        watchers = {layer.self_attn: note(place) for place, layer in enumerate(llm.layers)}
        with watch(llm.config, watchers):
            vlm.model(**inputs, logits_to_keep=1)
    return {name: [total / len(prompts) for total in layers] for name, layers in sums.items()}


def redundancy(
    vlm: VLM, names: Sequence[str], prompts: Sequence[dict[str, Any]]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """By task and group: mean similarity of neighbouring tokens, and of AIM's first pairs."""
    neighbours: dict[str, list[float]] = {}
    merged: dict[str, list[float]] = {}
    for name, inputs in zip(names, prompts, strict=True):
        probe = Similarity()
        answer(vlm, inputs, Reduction(before=probe), 1)
        neighbours.setdefault(name, []).extend(probe.neighbours)
        merged.setdefault(name, []).extend(probe.merged)
    return neighbours, merged
