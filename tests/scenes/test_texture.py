"""Texture: its questions are answered from pixels alone, and every answer is as likely."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from foveate.scenes import draw
from foveate.scenes.grain import PATTERNS, noise, pattern, standard
from foveate.scenes.texture import QUARTERS, THIRDS, WORDINGS, box

SIZES = [144, 449]


def grey_parts(drawn):
    """The grey levels of each part."""
    grey = drawn.frame(0).astype(np.float32).mean(-1)
    return {part.place: grey[box(part.place, drawn.size)] for part in drawn.plan.parts}


def rough(plane):
    """Share of what is fine in a part without its specks."""
    plane = np.clip(plane, *np.quantile(plane, [0.02, 0.98]))
    return (plane - gaussian_filter(plane, 1)).std() / plane.std()


@pytest.mark.parametrize("size", SIZES)
def test_light_and_blur_are_there(size):
    for index in range(24):
        drawn = draw("texture", "test", index, size=size)
        parts = grey_parts(drawn)
        light = sorted(parts, key=lambda place: parts[place].mean())
        fine = min(parts, key=lambda place: rough(parts[place]))
        answers = {"darkest": light[0], "brightest": light[-1], "blurred": fine}
        for question in drawn.ask(np.random.default_rng(index)):
            assert answers.get(question.family, question.answer) == question.answer, index


@pytest.mark.parametrize("size", SIZES)
def test_patterns_are_there(size):
    seen = 0
    for index in range(24):
        drawn = draw("texture", "val", index, size=size)
        for part in drawn.plan.parts if not any(p.is_blurred for p in drawn.plan.parts) else ():
            plane = standard(grey_parts(drawn)[part.place])
            like = {
                name: (plane * pattern(name, *plane.shape, period=size / 12)).mean()
                for name in PATTERNS
            }
            found = max(like, key=like.get)
            assert (found if like[found] > 0.35 else "plain") == part.pattern, (index, part)
            seen += 1
    assert seen > 24


def test_every_part_is_as_likely():
    answers = defaultdict(Counter)
    for index in range(1500):
        for question in draw("texture", "train", index, size=144).ask(np.random.default_rng(index)):
            answers[question.family][question.answer] += 1
    assert set(answers) == set(WORDINGS)
    assert set(answers.pop("pattern")) == set(PATTERNS)
    for family, counts in answers.items():
        assert set(counts) == {*QUARTERS, *THIRDS}, family
        assert max(counts.values()) < 1.5 * min(counts.values()), (family, counts)


@pytest.mark.parametrize("slope", [0.5, 1.0, 1.5])
def test_noise_falls_with_frequency_as_said(slope):
    plane = noise(256, 256, slope, np.random.default_rng(0))
    power = np.abs(np.fft.fft2(plane)) ** 2
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    ring = (frequency > 0.02) & (frequency < 0.4)
    fitted = np.polyfit(np.log(frequency[ring]), np.log(power[ring]), 1)[0]
    assert fitted == pytest.approx(-2 * slope, abs=0.1)


def test_parts_are_the_whole_picture():
    for places in (QUARTERS, THIRDS):
        for size in (144, 145, 146):
            seen = np.zeros((size, size), dtype=int)
            for place in places:
                seen[box(place, size)] += 1
            assert (seen == 1).all()
