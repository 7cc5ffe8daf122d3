import math

import numpy as np
import pytest
import torch

from foveate.compress.apet import ApET, approximation_error, farthest
from foveate.errors import InputError


def drawn(groups: int, tokens: int, width: int = 24) -> torch.Tensor:
    source = torch.Generator().manual_seed(tokens)
    few = torch.randn(groups, 6, width, generator=source)
    mixed = torch.randn(groups, tokens, 6, generator=source) @ few
    return mixed + 0.3 * torch.randn(groups, tokens, width, generator=source)


def twin(group: torch.Tensor, keep: float, basis: int) -> tuple[list[int], list[int]]:
    """What stays, and where each token goes, token by token."""
    rows = group.double()
    many, count = range(len(rows)), math.ceil(keep * len(rows) - 1e-9)
    chosen: list[int] = []
    while len(chosen) < min(basis, count // 2):
        start = rows.mean(0)[None]
        apart = [
            min(float((rows[i] - r).norm()) for r in (rows[chosen] if chosen else start))
            for i in many
        ]
        chosen.append(max(many, key=lambda i: apart[i]))
    basis_rows = rows[chosen].T.numpy()
    error = []
    for i in many:
        fit = np.linalg.lstsq(basis_rows, rows[i].numpy(), rcond=None)[0] if chosen else np.zeros(0)
        error.append(float(np.linalg.norm(rows[i].numpy() - basis_rows @ fit)))
    others = sorted((i for i in many if i not in chosen), key=lambda i: -error[i])
    worst = others[: count - len(chosen)]

    def nearest(i: int) -> int:
        return max(worst, key=lambda j: float(torch.cosine_similarity(rows[i], rows[j], dim=0)))

    stay = sorted(chosen + worst)
    return stay, [i if i in stay else nearest(i) for i in many]


@pytest.mark.parametrize("tokens", [7, 20, 36])
@pytest.mark.parametrize("keep", [0.05, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("basis", [1, 3, 10])
def test_a_group_is_the_twins(tokens, keep, basis):
    groups = drawn(3, tokens)
    merged = ApET(keep, basis)(groups)
    assert merged.features.shape[1] == ApET(keep).kept(tokens)
    for number, group in enumerate(groups):
        stay, goes = twin(group, keep, basis)
        assert merged.position[number].tolist() == stay
        assert [stay[row] for row in merged.source[number].tolist()] == goes
        means = [group[[i for i in range(tokens) if goes[i] == place]].mean(0) for place in stay]
        torch.testing.assert_close(merged.features[number], torch.stack(means))


def test_what_the_basis_makes_up_is_merged():
    # the basis is the two long ones; of the rest only the last two are not in its plane
    group = torch.tensor(
        [[9.0, 0, 0], [0, 9, 0], [1, 1, 0], [2, 1, 0], [1, 0, 2], [3, 3, 0], [0, 1, 4]]
    )[None]
    merged = ApET(4 / 7, basis=2)(group)
    assert merged.position.tolist() == [[0, 1, 4, 6]]
    assert merged.source.tolist() == [[0, 1, 2, 2, 2, 2, 3]]
    expected = group[0, [2, 3, 4, 5]].mean(0)
    torch.testing.assert_close(merged.features[0, 2], expected)
    error = approximation_error(group, torch.tensor([[0, 1]]))
    torch.testing.assert_close(error[0], torch.tensor([0, 0, 0, 0, 2.0, 0, 4]), atol=1e-4, rtol=0)


def test_points_are_sampled_far_apart():
    line = torch.tensor([0.0, 1, 2, 3, 10])[None, :, None]
    assert farthest(line, 4).tolist() == [[4, 0, 3, 1]]
    assert farthest(line, 0).shape == (1, 0)


def test_a_batch_is_its_groups_alone():
    groups = drawn(3, 25)
    whole = ApET(0.4)(groups)
    for number, group in enumerate(groups):
        alone = ApET(0.4)(group[None])
        assert torch.equal(whole.position[number], alone.position[0])
        assert torch.equal(whole.source[number], alone.source[0])
        torch.testing.assert_close(whole.features[number], alone.features[0])


def test_a_basis_has_a_token():
    with pytest.raises(InputError, match="basis must be at least 1, got 0"):
        ApET(basis=0)
