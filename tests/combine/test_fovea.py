import pytest

import foveate
from foveate.combine.fovea import Fovea
from foveate.compress.fovea import FoveaMerge
from foveate.errors import InputError
from foveate.prune.aim import AIMPrune
from foveate.prune.schedule import mean_share


def test_is_its_two_halves():
    reduction = foveate.create("fovea", keep=0.5, prune=(2, 5))
    assert reduction == Fovea(0.5, (2, 5))
    assert (reduction.before, reduction.inside) == (FoveaMerge(0.5), AIMPrune((2, 5)))
    assert Fovea(1.0, None).is_off
    with pytest.raises(InputError, match=r"got 1\.5"):
        Fovea(1.5)


@pytest.mark.parametrize("share", [0.5, 0.25, 0.0625])
def test_share_is_the_mean_over_layers(share):
    made = Fovea.for_share(share, 24)
    assert made.keep * mean_share(made.inside.schedule(24), 24) == pytest.approx(share)


def test_more_than_the_window_lets_through_is_refused():
    with pytest.raises(InputError, match=r"mean share of 0\.9"):
        Fovea.for_share(0.9, 24)
