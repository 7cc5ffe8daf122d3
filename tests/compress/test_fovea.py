import torch

from foveate.compress.fovea import FoveaMerge
from twins import most_diverse


def test_matches_naive():
    """The diverse ones stay; every other goes to the one it is most like, and counts once in its mean."""
    features = torch.randn(2, 15, 6, generator=torch.Generator().manual_seed(0))
    tokens = FoveaMerge(0.4)(features)
    for sample in range(2):
        rows = features[sample]
        kept = sorted(most_diverse(rows, 6))
        assert tokens.position[sample].tolist() == kept
        parts = {row: [row] for row in kept}
        for row in set(range(15)) - set(kept):
            alike = [float(torch.cosine_similarity(rows[row], rows[k], dim=0)) for k in kept]
            parts[kept[alike.index(max(alike))]].append(row)
        for place, row in enumerate(kept):
            expected = rows[parts[row]].mean(0)
            torch.testing.assert_close(tokens.features[sample, place], expected)
            assert tokens.size[sample, place] == len(parts[row])


def test_what_a_second_view_repeats_is_not_kept_twice():
    view = torch.eye(4)
    tokens = FoveaMerge(0.5)(torch.cat([view, view])[None])
    assert tokens.features[0].argmax(-1).sort().values.tolist() == [0, 1, 2, 3]
    assert tokens.size.tolist() == [[2, 2, 2, 2]]
