"""Positions of merged tokens: reading order, and on grids (M-RoPE) their own places, in any mix."""

import numpy as np
import pytest
import torch

import foveate
from foveate.combine.aim import AIM
from foveate.models.family import families, family_of
from foveate.testing import tiny

PARTS, MIXES = 4, 39  # for each family; the thirteen make over 2,000
FAMILIES = tuple(families())


def random_samples(rng, kinds):
    """1 to 3 samples of 0 to 4 pictures, of random kinds and sizes, at least one picture in all."""
    while True:
        samples = [
            [(str(rng.choice(kinds)), int(rng.integers(4))) for _ in range(rng.integers(5))]
            for _ in range(rng.integers(1, 4))
        ]
        if any(samples):
            return samples


@pytest.mark.sampled
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", FAMILIES)
def test_positions_follow_reading_order_and_counts_match(name, part):
    """A one-layer walk over random mixes: what the LLM gets, checked against the prompt itself."""
    model, _ = tiny(name)
    family = family_of(model)
    llm = family.language_model(model.model)
    llm.layers = llm.layers[:1]
    llm.config.num_hidden_layers = 1
    if getattr(llm.config, "layer_types", None):
        llm.config.layer_types = llm.config.layer_types[:1]
    rng = np.random.default_rng([7, part])
    kinds = list(family.placeholders(model.config))
    for _ in range(MIXES):
        samples = random_samples(rng, kinds)
        keep = float(rng.choice([0.1, 0.25, 0.5, 0.75]))
        padding = "left" if rng.random() < 0.5 else "right"
        inputs = family.tiny_inputs(model.config, samples, padding)
        with torch.no_grad():
            stock = given_to(llm, model, inputs)["position_ids"] if family.grid_positions else None
            with foveate.reduce(model, AIM(keep, None)) as run:
                seen = given_to(llm, model, inputs)
        check_rows(inputs, family.placeholders(model.config), run.report, seen)
        check_positions(inputs, family, model, run.report, seen["position_ids"], stock)


def given_to(llm, model, inputs):
    """What the LLM is given, behind all that a reduction does to it."""
    seen = {}
    hook = llm.register_forward_pre_hook(
        lambda _, args, kwargs: seen.update(kwargs), with_kwargs=True
    )
    model(**inputs)
    hook.remove()
    return seen


def survivors(inputs, placeholders, report):
    """For each sample the rows that must be left, in order, from the report's own story."""
    rows = []
    for sample, ids in enumerate(inputs["input_ids"]):
        visual = torch.isin(ids, torch.tensor(list(placeholders.values())))
        text = (inputs["attention_mask"][sample].bool() & ~visual).nonzero()[:, 0].tolist()
        rows.append((text, visual.nonzero()[:, 0].tolist(), report.merged_into[sample]))
    return rows


def check_rows(inputs, placeholders, report, seen):
    """As many rows as text tokens and merged tokens together, padded on the prompt's side."""
    counts = []
    for sample, (text, visual, into) in enumerate(survivors(inputs, placeholders, report)):
        assert len(into) == len(visual)
        assert sorted(set(into)) == list(range(report.visual_tokens_to_llm[sample]))
        counts.append(len(text) + report.visual_tokens_to_llm[sample])
    assert seen["inputs_embeds"].shape[1] == max(counts)
    if seen.get("attention_mask") is not None:
        assert seen["attention_mask"].sum(1).tolist() == counts


def check_positions(inputs, family, model, report, positions, stock):
    """Text keeps its order; on grids text and survivors keep their very places."""
    valid = torch.ones(positions.shape[-2:], dtype=torch.bool)
    longest = positions.shape[-1]
    left = bool(inputs["attention_mask"][:, -1].all())
    for sample, (text, visual, into) in enumerate(
        survivors(inputs, family.placeholders(model.config), report)
    ):
        count = len(text) + len(set(into))
        valid[sample] = (
            torch.arange(longest) >= longest - count if left else torch.arange(longest) < count
        )
        mine = positions[..., sample, valid[sample]]
        if not family.grid_positions:
            assert (mine.diff(dim=-1) == 1).all(), "merging leaves no gap and no repetition"
            continue
        # an unreduced prompt with some places left out, in its order
        before = stock[-3:, sample]
        told = [tuple(place) for place in mine.T.tolist()]
        whole = [tuple(before[:, row].tolist()) for row in sorted(text + visual)]
        at = iter(whole)
        assert all(place in at for place in told), "places of the prompt, in reading order"
        wanted = iter(told)
        text_places = [tuple(before[:, row].tolist()) for row in text]
        assert all(place in wanted for place in text_places), "text tokens keep their positions"
