import pytest
import torch

from foveate.tokens import VisionTokens


def test_take_drops_the_rest_and_remembers():
    tokens = VisionTokens.of(torch.arange(8.0).view(1, 4, 2)).take(torch.tensor([[3, 1]]))
    assert tokens.features.tolist() == [[[6, 7], [2, 3]]]
    assert tokens.source.tolist() == [[-1, 1, -1, 0]]
    assert tokens.position.tolist() == [[3, 1]]


def test_merge_averages_once_or_by_size():
    tokens = VisionTokens.of(torch.tensor([[[0.0], [6.0], [3.0]]]))
    pair = tokens.merge(torch.tensor([[1, 2]]), torch.tensor([[1, 1, 2]]))
    assert pair.features.flatten().tolist() == [3, 3]
    assert pair.size.tolist() == [[2, 1]]
    one = pair.merge(torch.tensor([[1]]), torch.tensor([[1, 1]]), weighted=True)
    assert one.features.item() == 3
    assert one.size.item() == 3
    assert one.source.tolist() == [[0, 0, 0]]
    assert one.position.tolist() == [[2]]


def test_size_weights_count():
    tokens = VisionTokens.of(torch.tensor([[[0.0], [6.0], [9.0]]]))
    pair = tokens.merge(torch.tensor([[1, 2]]), torch.tensor([[1, 1, 2]]))
    into = torch.tensor([[1, 1]])
    assert pair.merge(torch.tensor([[1]]), into).features.item() == 6
    assert pair.merge(torch.tensor([[1]]), into, weighted=True).features.item() == 5


def test_a_dropped_patch_stays_dropped():
    tokens = VisionTokens.of(torch.ones(1, 4, 1)).take(torch.tensor([[0, 2]]))
    again = tokens.take(torch.tensor([[1]]))
    assert again.source.tolist() == [[-1, -1, 0, -1]]


@pytest.mark.parametrize("weighted", [False, True])
def test_a_mean_in_half_precision_does_not_overflow(weighted):
    features = torch.full((1, 1000, 1), 100.0)
    features[0, 500:] = 102
    everything = torch.zeros(1, 1000, dtype=torch.long)
    tokens = VisionTokens.of(features.half())
    one = tokens.merge(torch.tensor([[0]]), everything, weighted=weighted)
    assert one.features.dtype == torch.float16
    assert one.features.item() == 101
    assert one.size.item() == 1000
