import pytest
import torch

from foveate.compress.visionzip import VisionZip
from foveate.errors import InputError

FEATURES = torch.arange(8.0).view(1, 8, 1)
ATTENTION = torch.tensor([[0.0, 0.9, 0.1, 0.0, 0.0, 0.8, 0.0, 0.0]])
# the others are 0 2 3 4 6 7: of two contextual ones, evenly spaced, 2 and 6 are chosen
KEYS = torch.tensor([[[1.0, 0], [0, 0], [1, 0], [1, 0.1], [0, 1], [0, 0], [0, 1], [1, 0.2]]])


def test_dominant_tokens_stay_and_the_rest_joins_the_most_similar():
    tokens = VisionZip(0.5, contextual=0.5)(FEATURES, attention=ATTENTION, keys=KEYS)
    assert tokens.position.tolist() == [[1, 2, 5, 6]]
    assert tokens.features[0, :, 0].tolist() == [1, (0 + 2 + 3 + 7) / 4, 5, (4 + 6) / 2]
    assert tokens.source.tolist() == [[1, 0, 1, 1, 3, 2, 3, 1]]
    assert tokens.size.tolist() == [[1, 4, 1, 2]]


def test_without_contextual_tokens_the_rest_is_dropped():
    tokens = VisionZip(0.25, contextual=0.0)(FEATURES, attention=ATTENTION, keys=KEYS)
    assert tokens.features[0, :, 0].tolist() == [1, 5]
    assert tokens.source.tolist() == [[-1, 0, -1, -1, -1, 1, -1, -1]]


def test_paper_split():
    source = torch.Generator().manual_seed(0)
    drawn = [torch.randn(2, 576, n, generator=source) for n in (4, 6)]
    attention = torch.rand(2, 576, generator=source)
    tokens = VisionZip(64 / 576)(drawn[0], attention=attention, keys=drawn[1])
    # 54 of the 64 are the most attended; they stand for themselves alone
    dominant = attention.topk(54).indices.sort().values
    for group in range(2):
        assert set(dominant[group].tolist()) <= set(tokens.position[group].tolist())
    assert tokens.size.sum(1).tolist() == [576, 576]
    assert tokens.features.shape[1] == 64


def test_bad_share_is_refused():
    with pytest.raises(InputError, match=r"contextual must be a share in \[0, 1\], got 2"):
        VisionZip(0.5, contextual=2)
