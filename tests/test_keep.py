import pytest

from foveate.errors import InputError
from foveate.keep import check_keep, kept_count


@pytest.mark.parametrize("keep", [0, -1, 1.5, float("nan"), True, "half", None])
def test_what_is_no_share_is_refused(keep):
    with pytest.raises(InputError, match=r"keep must be a share in \(0, 1\], got"):
        check_keep(keep)


def test_counts_are_safe_against_float_bits():
    for tokens in range(1, 300):
        for kept in range(1, tokens + 1):
            assert kept_count(kept / tokens, tokens) == kept


def test_the_smallest_share_keeps_one_token():
    check_keep(1e-12)
    assert kept_count(1e-12, 196) == 1
