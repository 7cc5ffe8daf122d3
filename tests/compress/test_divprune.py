import torch

from foveate.compress.divprune import DivPrune, diverse
from twins import most_diverse


def test_matches_naive():
    features = torch.randn(3, 20, 6, generator=torch.Generator().manual_seed(0))
    chosen = diverse(features, 8)
    for group in range(3):
        assert chosen[group].tolist() == most_diverse(features[group], 8)


def test_one_of_each_direction_stays():
    # three directions, of different lengths; the lone one is farthest from its nearest neighbour
    features = torch.tensor([[[1.0, 0], [2, 0], [0, 1], [0, 3], [-1, -1], [5, 0]]])
    tokens = DivPrune(0.5)(features)
    assert tokens.position.tolist() == [[0, 2, 4]]
    assert tokens.source.tolist() == [[0, -1, 1, -1, 2, -1]]
