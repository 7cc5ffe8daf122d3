"""The figures of docs/concepts/laws.md are those that the code gives."""

import json
from pathlib import Path

import pytest

from foveate.combine.aim import AIM
from foveate.laws.frontier import optimum
from foveate.laws.held_out import held_out
from foveate.laws.law import FORMS, fit_points
from foveate.laws.points import FAMILIES, published
from foveate.planner.frames import plan_frames

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs/concepts/laws.md").read_text().split())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_table(family, form):
    points = published(family)
    law = fit_points(points, form)
    worst = " | ".join(f"{at.worst:.2%}" for at in held_out(points, form))
    row = (
        f"| {family} | {form} | {law.alpha:.4f} | {law.beta:.4f} | {law.sse:.2e} | {law.aicc:.1f} |"
    )
    assert f"{row} {worst} |" in PAGE


def test_ratios_and_profile():
    reasoning, ocr = (fit_points(published(family)) for family in ("reasoning", "ocr"))
    assert reasoning.interval()["alpha / beta"].low > 4
    assert ocr.interval()["alpha / beta"].high < 1
    for family in FAMILIES:
        laws = {form: fit_points(published(family), form) for form in FORMS}
        least = min(law.aicc for law in laws.values())
        assert abs(laws["product"].aicc - laws["additive"].aicc) < 2
        assert laws["interaction"].aicc - least < 3
        together = laws["interaction"].interval()["size_token_scale"]
        assert together.low < 0 < together.high
    profile = reasoning.profile()
    floors = f"floors from {profile['floor'].low:.0f} to {profile['floor'].high:.2f} fit as well"
    alphas = f"from {profile['alpha'].low:.3f} to {profile['alpha'].high:.3f}"
    assert floors in PAGE
    assert alphas in PAGE


def test_optima():
    flat = optimum(fit_points(published("reasoning")), 4e11, 50)
    assert round(flat.best.visual_tokens) == 13
    assert f"every count from {flat.alike.low:.0f} to {flat.alike.high:.0f} is predicted" in PAGE
    product, additive, interaction = (
        optimum(fit_points(published("ocr"), form), 4e11, 50) for form in FORMS
    )
    assert product.best.visual_tokens == pytest.approx(576)
    assert round(additive.best.visual_tokens, -1) == 420
    assert f"from {additive.visual_tokens.low:.0f} to {additive.visual_tokens.high:.0f}" in PAGE
    assert round(interaction.best.visual_tokens, -1) == 180
    found = interaction.visual_tokens
    assert f"about 180, from {found.low:.0f} to {found.high:.0f}" in PAGE


def test_frames():
    knobs = {"reduction": AIM(prune=(14, 22))}
    assert plan_frames("llava-onevision-7b", 32, convention="llm-viewer", **knobs).frames == 192
    assert "as much as 192 reduced ones" in PAGE
    assert (
        f"as {plan_frames('llava-onevision-7b', 32, **knobs).frames} if only the LLM counts" in PAGE
    )
    encoded = plan_frames("llava-onevision-7b", 32, encoder=True, **knobs)
    assert f"as {encoded.frames} once the vision encoder counts" in PAGE


def test_guard_for_text():
    for row in json.loads((ROOT / "results" / "text_guard.json").read_text())["rows"]:
        low, high = row["interval"]["low"], row["interval"]["high"]
        assert low <= row["accuracy"] == row["right"] / row["n"] <= high
        line = f"| {row['task']} | {row['expected']} | {row['right']} of {row['n']} "
        assert f"{line}| {low:.1%} to {high:.1%} |" in PAGE
