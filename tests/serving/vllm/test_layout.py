"""How many tokens stay, and which: placeholders are counted before the encoder runs."""

import random
from dataclasses import replace

import pytest
import torch

import foveate
from foveate.errors import InputError
from foveate.models.anyres import image_grids
from foveate.serving.vllm.budget import servable
from foveate.serving.vllm.layout import Layout, kept, kept_by_group, shrink


def drawn(draw: random.Random) -> Layout:
    """A picture, a tiled picture with separators, or a clip with or without a separator at its end."""
    side = draw.randint(1, 5)
    kind = draw.choice(["picture", "tiles", "newlines", "clip", "clip with separator"])
    if kind == "picture":
        return Layout.even([(draw.randint(1, 8), draw.randint(1, 8))])
    if kind == "tiles":
        return Layout.even([(side, side)] * draw.randint(1, 5))
    if (
        kind == "newlines"
    ):  # a base view, two tiles side by side, a separator at the end of each row
        row = [1] * side + [2] * side + [3]
        group = torch.tensor([0] * side**2 + row * side)
        return Layout(group, image_grids(group))
    separator = [(1, 1)] * (kind != "clip")
    return Layout.even([(side + 1, side)] * draw.randint(1, 5) + separator, is_clip=True)


@pytest.mark.parametrize("cases", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_counts_are_those_of_features_over_many_sizes_and_mixes(cases):
    draw, names = random.Random(0), servable("before")
    for number in range(cases):
        layout, name = drawn(draw), names[number % len(names)]
        method = foveate.create(name, keep=draw.uniform(0.01, 1)).before
        features, question = torch.rand(len(layout.group), 3), torch.rand(4, 3)
        shrunk = shrink(features, layout, method, question=question)
        assert len(shrunk.features) == len(shrunk.rows) == kept(method, layout), (name, layout)
        assert shrunk.rows.tolist() == sorted(set(shrunk.rows.tolist()))
        if (
            not (layout.is_clip and {"frames", "sample"} & set(method.needs))
            and "sample" not in method.needs
        ):
            assert torch.bincount(layout.group[shrunk.rows]).tolist() == kept_by_group(
                method, layout
            )


def test_frames_are_one_clip_and_the_separator_stands_alone():
    layout = Layout.even([(2, 2)] * 3 + [(1, 1)], is_clip=True)
    assert layout.clip.tolist() == [0] * 12 + [3]
    assert replace(layout, is_clip=False).clip is layout.group
    units = {
        need: [(own.tolist(), told) for own, told in layout.units((need,))]
        for need in ("frames", "grid", "sample")
    }
    assert units["frames"] == [(list(range(12)), {"frames": 3}), ([12], {"frames": 1})]
    assert units["grid"][0] == ([0, 1, 2, 3], {"grid": (2, 2)})
    assert units["sample"] == [(list(range(13)), {})]


@pytest.mark.parametrize("name", servable("before"))
@pytest.mark.parametrize("number", [0.3, 0.0, 1e30, torch.nan, torch.inf])
def test_counts_hold_where_all_tokens_are_alike_or_no_numbers(name, number):
    method = foveate.create(name, keep=0.4).before
    for is_clip in (False, True):
        layout = Layout.even([(4, 4)] * 4 + [(1, 1)] * is_clip, is_clip=is_clip)
        blank = torch.full((len(layout.group), 8), number)
        broken = torch.randn(blank.shape)
        broken[5] = number
        for features in (blank, broken):
            left = shrink(features, layout, method, question=torch.randn(3, 8))
            assert len(left.rows) == len(left.features) == kept(method, layout)
            assert left.rows.diff().min() > 0


def test_what_stands_behind_a_methods_columns_is_averaged_along():
    layout = Layout.even([(2, 3)])
    features = torch.randn(6, 4)
    deep = torch.randn(6, 8)
    method = foveate.create("aim-merge", keep=0.5).before
    alone = shrink(features, layout, method)
    both = shrink(torch.cat([features, deep], 1), layout, method, width=4)
    assert torch.equal(both.features[:, :4], alone.features)
    tokens = method(features[None])
    for place, row in enumerate(alone.rows.tolist()):
        merged = tokens.source[0] == tokens.source[0, row]
        torch.testing.assert_close(both.features[place, 4:], deep[merged].mean(0))


@pytest.mark.parametrize("name", ["fovea-merge", "evs", "vidcom2"])
def test_no_count_of_a_frame_is_known_where_frames_share(name):
    method, clip = foveate.create(name, keep=0.5).before, Layout.even([(2, 2)] * 3, is_clip=True)
    with pytest.raises(InputError, match="text between the frames"):
        kept_by_group(method, clip)
