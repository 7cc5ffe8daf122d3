import pytest
import torch

from foveate.compress.aim import AIMMerge, merge_tokens, rounds
from foveate.errors import InputError
from twins import naive_merge


@pytest.mark.parametrize("case", range(5))
def test_matches_published_code(golden, case):
    data = golden("merge")
    removals = data[f"case{case}.removed"].tolist()
    for round_, _ in enumerate(removals):
        merged = merge_tokens(data[f"case{case}.input"], removals[: round_ + 1], order="reference")
        torch.testing.assert_close(
            merged.features, data[f"case{case}.after{round_}"], rtol=0, atol=1e-6
        )


@pytest.mark.parametrize(
    ("tokens", "removals"), [(7, [3, 1]), (16, [8, 4]), (25, [5]), (49, [24, 99])]
)
def test_matches_naive(tokens, removals):
    features = torch.randn(3, tokens, 8, generator=torch.Generator().manual_seed(tokens))
    merged = merge_tokens(features, removals)
    for group in range(3):
        rows, patches = naive_merge(features[group], removals)
        torch.testing.assert_close(merged.features[group], rows, rtol=0, atol=1e-6)
        for token, expected in enumerate(patches):
            assert set((merged.source[group] == token).nonzero()[:, 0].tolist()) == expected
            assert merged.size[group, token] == len(expected)


def test_raster_is_the_reference_sorted():
    features = torch.randn(2, 30, 8)
    raster, reference = (merge_tokens(features, [7], order) for order in ("raster", "reference"))
    order = reference.position.argsort(dim=1)
    assert torch.equal(reference.position.gather(1, order), raster.position)
    rows = reference.features.gather(1, order[..., None].expand(-1, -1, 8))
    torch.testing.assert_close(rows, raster.features, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("keep", "kept"), [(0.5, 98), (0.25, 49), (0.125, 25), (0.0625, 13), (1 / 32, 7), (1 / 64, 4)]
)
def test_keep_counts_as_published(keep, kept):
    assert AIMMerge(keep)(torch.randn(1, 196, 8)).features.shape[1] == kept


def test_published_partial_steps():
    assert rounds(576, 252) == [288, 36]
    assert rounds(196, 74) == [98, 24]


def test_weighted_mean_keeps_the_total():
    features = torch.randn(2, 48, 8)
    merged = AIMMerge(0.25, weighted=True)(features)
    total = (merged.features * merged.size[..., None]).sum(1)
    torch.testing.assert_close(total, features.sum(1))


def test_keys_decide_features_merge():
    features, keys = torch.randn(2, 16, 8), torch.randn(2, 16, 4)
    merged = AIMMerge(0.5, metric="keys", at="encoder")(features, keys=keys)
    assert torch.equal(merged.source, AIMMerge(0.5)(keys).source)
    first = merged.source[0] == 0
    torch.testing.assert_close(merged.features[0, 0], features[0][first].mean(0))


@pytest.mark.parametrize("keep", [0.0, -1.0, 1.5, float("nan"), float("inf")])
def test_bad_keep_is_refused(keep):
    with pytest.raises(InputError, match=r"keep must be a share in \(0, 1\], got"):
        AIMMerge(keep)


def test_bad_choices_are_refused():
    with pytest.raises(InputError, match="metric"):
        AIMMerge(0.5, metric="keys")
    with pytest.raises(InputError, match=r"removals .* got \[-1\]"):
        merge_tokens(torch.randn(1, 4, 2), [-1])
