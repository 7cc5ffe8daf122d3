"""The contract of families and methods: checks that each must pass, to be called from any tests.

    from foveate.testing import CASES, check_dropping_is_masking, tiny

    @pytest.mark.parametrize("case", CASES)
    def test_my_method(case):
        check_dropping_is_masking(*tiny(*case), MyMethod(...))

The checks of a family take the family, all others a `tiny` model and inputs; every one raises
AssertionError where the contract is broken.
"""

from foveate.testing.families import check_family_has_a_cost, check_family_is_as_stated
from foveate.testing.groups import check_groups
from foveate.testing.masking import (
    check_dropping_is_masking,
    check_loss_is_that_of_what_is_left,
    masked_generation,
)
from foveate.testing.models import CASES, GREEDY, Given, beside, reduce, tiny
from foveate.testing.reductions import (
    check_batch_is_samples_alone,
    check_no_trace,
    check_off_is_bit_identical,
    check_tokens_are_gone,
    fingerprint,
)
from foveate.testing.turns import check_turns_are_masking

__all__ = [
    "CASES",
    "GREEDY",
    "Given",
    "beside",
    "check_batch_is_samples_alone",
    "check_dropping_is_masking",
    "check_family_has_a_cost",
    "check_family_is_as_stated",
    "check_groups",
    "check_loss_is_that_of_what_is_left",
    "check_no_trace",
    "check_off_is_bit_identical",
    "check_tokens_are_gone",
    "check_turns_are_masking",
    "fingerprint",
    "masked_generation",
    "reduce",
    "tiny",
]
