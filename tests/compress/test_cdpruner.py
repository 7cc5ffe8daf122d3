import itertools

import torch

from foveate.compress.cdpruner import CDPruner, likeliest, relevance


def test_greedy_raises_the_determinant_most():
    vectors = torch.randn(10, 12, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    kernel = vectors @ vectors.T
    chosen: list[int] = []
    for _ in range(5):
        rest = [row for row in range(10) if row not in chosen]
        chosen.append(
            max(rest, key=lambda row: float(torch.det(kernel[[*chosen, row]][:, [*chosen, row]])))
        )
    assert likeliest(kernel.float()[None], 5)[0].tolist() == chosen


def test_the_first_two_are_the_best_pair_of_orthogonal_rows():
    kernel = torch.diag(torch.tensor([0.2, 0.9, 0.5, 0.1]))[None]
    pairs = itertools.combinations(range(4), 2)
    best = max(
        pairs, key=lambda pair: float(kernel[0, pair[0], pair[0]] * kernel[0, pair[1], pair[1]])
    )
    assert sorted(likeliest(kernel, 2)[0].tolist()) == list(best)


def test_the_question_decides():
    # two pairs of like tokens; the question is about the first axis, then about the second
    features = torch.tensor([[[1.0, 0.1, 0], [1, 0, 0], [0.1, 1, 0], [0, 1, 0]]])
    about = CDPruner(0.25)
    assert about(features, query=torch.tensor([[[3.0, 0, 0]]])).position.tolist() == [[1]]
    assert about(features, query=torch.tensor([[[0, 2.0, 0]]])).position.tolist() == [[3]]
    # with room for two, likeness counts: not both of the first pair
    two = CDPruner(0.5)(features, query=torch.tensor([[[3.0, 1.0, 0]]])).position[0].tolist()
    assert len({place // 2 for place in two}) == 2


def test_relevance_is_stretched_in_each_group():
    unit = torch.nn.functional.normalize(torch.randn(2, 7, 4), dim=-1)
    worth = relevance(unit, torch.randn(2, 3, 4))
    torch.testing.assert_close(worth.amax(1), torch.ones(2))
    assert (worth.amin(1) < 1e-4).all()
