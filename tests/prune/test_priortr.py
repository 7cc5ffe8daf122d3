"""PriorTR against the whole attention map, and by hand."""

import math

import pytest
import torch

from foveate.errors import InputError
from foveate.prune.priortr import PriorTR
from foveate.registry import method
from foveate.runtime.rows import top_rows
from twins import naive_attention


def drawn(samples: int, rows: int = 20):
    source = torch.Generator().manual_seed(samples)
    query = torch.randn(samples, 4, rows, 8, generator=source)
    key = torch.randn(samples, 2, rows, 8, generator=source)
    visual = torch.zeros(samples, rows, dtype=torch.bool)
    visual[:, 3:12] = True
    return query, key, visual


@pytest.mark.parametrize("voters", ["behind", "last"])
def test_scores_are_those_of_the_whole_map(voters):
    query, key, visual = drawn(3)
    valid = torch.ones_like(visual)
    valid[1, 17:] = False  # padding on the right
    valid[2, :3] = False  # and on the left
    score = PriorTR(voters=voters).score(query, key, valid, 0.3, visual=visual)
    for sample, last in ((0, 19), (1, 16), (2, 19)):
        whole = naive_attention(query[sample], key[sample], 0.3, valid[sample])
        asked = range(12, last + 1) if voters == "behind" else [last]
        given = [sum(float(whole[row, v]) for row in asked) / len(asked) for v in range(3, 12)]
        prior = [float(whole[12, v]) for v in range(3, 12)]
        for number, v in enumerate(range(3, 12)):
            p, q = given[number] / sum(given), prior[number] / sum(prior)
            assert float(score[sample, v]) == pytest.approx(p * math.log(p / q), abs=1e-5)
        assert (score[sample, ~visual[sample]] < -1e30).all()


def test_what_is_always_looked_at_is_not_kept():
    # rows 1 to 4 are visual; the separator 5 looks at 1 and 2, the question at 1 and 3
    key = torch.eye(8)[None, None]
    query = torch.zeros(1, 1, 8, 8)
    query[0, 0, 5, [1, 2]] = 5.0
    query[0, 0, 6:, [1, 3]] = 5.0
    visual = torch.tensor([[0, 1, 1, 1, 1, 0, 0, 0]]).bool()
    score = PriorTR(voters="last").score(query, key, None, 1.0, visual=visual)[0]
    assert score.argmax() == 3
    assert abs(float(score[1])) < 1e-3  # as much as without the question
    assert score[2] < -0.01  # less than without it


def test_hidden_tokens_go_before_all_others():
    query, key, visual = drawn(1)
    valid = torch.ones_like(visual)
    valid[0, 4:8] = False
    score = PriorTR().score(query, key, valid, None, visual=visual)
    for count in (2, 5):
        assert not (top_rows(score, visual, [count])[0] & ~valid[0]).any()
    assert int(top_rows(score, visual, [8])[0].sum()) == 8


def test_without_a_question_the_earlier_stay():
    query, key, visual = drawn(1, rows=13)
    score = PriorTR().score(query, key, None, None, visual=visual)
    assert top_rows(score, visual, [4])[0].nonzero()[:, 0].tolist() == [3, 4, 5, 6]


def test_a_batch_is_its_samples_alone():
    query, key, visual = drawn(3)
    whole = PriorTR().score(query, key, None, None, visual=visual)
    for n in range(3):
        alone = PriorTR().score(query[n][None], key[n][None], None, None, visual=visual[n][None])
        torch.testing.assert_close(whole[n], alone[0])


def test_its_schedule_and_its_knobs(untyped):
    assert {layer: float(share) for layer, share in PriorTR().schedule(32).items()} == {1: 0.5}
    assert PriorTR(keep=1.0).is_off
    with pytest.raises(InputError, match="voters must be one of"):
        method("priortr").build(voters="all")
