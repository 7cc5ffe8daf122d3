"""Pictures behind a cached history: each turn as the masked twin over all of it."""

import pytest

import foveate
from foveate.combine.aim import AIM
from foveate.errors import UnsupportedError
from foveate.models.family import families, family_of
from foveate.models.layout import Layout
from foveate.testing import tiny as make_tiny
from foveate.testing.masking import check_turns_are_masking

MERGE, PRUNE, BOTH = AIM(0.5, None), AIM(1.0, (1, 4)), AIM(0.5, (1, 4))
OFF = foveate.Reduction()
TURNS = {
    "merged": (MERGE, MERGE), "pruned": (PRUNE, PRUNE), "all": (BOTH, PRUNE, MERGE, OFF),
    "stock first": (OFF, BOTH), "fastv": (foveate.FastV(keep=0.5),) * 2,
}  # fmt: skip


@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("name", families())
def test_each_turn_is_the_masked_twin_over_the_whole_history(name, turns):
    model, inputs = make_tiny(name)
    family = family_of(model)
    layout = Layout.of(family.language_model(model.model).config)
    if layout.shares_keys or family.blocks(inputs) is not None:
        with pytest.raises(
            UnsupportedError, match="behind a cached history cannot be reduced where"
        ):
            check_turns_are_masking(model, inputs, turns)
        return
    check_turns_are_masking(model, inputs, turns)
