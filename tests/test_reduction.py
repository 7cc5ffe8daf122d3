import pytest

import foveate
from foveate.combine.aim import AIM, PAPER
from foveate.compress.aim import AIMMerge
from foveate.compress.divprune import DivPrune
from foveate.errors import FoveateError, InputError, MissingExtraError
from foveate.prune.aim import AIMPrune
from foveate.prune.fastv import FastV
from foveate.prune.schedule import mean_share
from foveate.reduction import as_reduction
from foveate.registry import register


def test_names_make_methods():
    assert foveate.create("aim", keep=0.5, prune=None) == AIM(0.5, None)
    assert foveate.create("aim-merge", keep=0.5) == foveate.Reduction(before=AIMMerge(0.5))
    assert foveate.create("aim-prune", prune=(1, 2)).inside == AIMPrune((1, 2))


def test_bad_names_and_knobs_teach():
    with pytest.raises(InputError, match=r"unknown method 'aimm'; known methods: aim, aim-merge"):
        foveate.create("aimm")
    with pytest.raises(InputError, match=r"unexpected keyword argument 'kepp'; its knobs: .*keep"):
        foveate.create("aim-merge", kepp=0.5)
    with pytest.raises(
        InputError, match=r"aim cannot take {'name': 'x'}: .*'name'; its knobs: keep"
    ):
        foveate.create("aim", name="x")
    with pytest.raises(InputError, match=r"got 1\.5"):
        foveate.create("aim", keep=1.5)
    with pytest.raises(InputError, match="published: llava-onevision-7b"):
        AIM.paper("gpt")


class Half:
    """A method before the LLM that is not finished."""

    needs, at, is_off = (), "llm", False

    def __call__(self, *features, **needed):
        return None


BOTH = type("Both", (Half,), dict.fromkeys(["flops", "schedule", "score"], print))


def test_a_method_alone_is_a_reduction():
    assert as_reduction(DivPrune(0.1)) == foveate.Reduction(before=DivPrune(0.1))
    assert as_reduction(FastV()) == foveate.Reduction(inside=FastV())
    aim = AIM(0.5)
    assert as_reduction(aim) is aim
    for method in foveate.methods().values():
        assert as_reduction(method.build()) == foveate.create(method.name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (AIM, r"got the class AIM: write AIM\(\)"),
        (FastV, r"got the class FastV: write FastV\(\)"),
        ("aim", r'got the name .aim.: write foveate.create\("aim"\)'),
        ("fastvv", "unknown method 'fastvv'; known methods: aim, .*fastv, "),
        ({"keep": 0.5}, r'write foveate.create\("aim", keep=0.5\)'),
        (Half(), "which lacks flops$"),
        (BOTH(), r"write Reduction\(before=.* or Reduction\(inside="),
        (0.25, "a reduction is foveate.AIM"),
    ],
)
def test_what_is_no_reduction_is_refused_by_what_to_write(given, message, untyped):
    with pytest.raises(InputError, match=message):
        as_reduction(given)


@pytest.mark.parametrize(
    ("place", "given", "message"),
    [
        ("before", DivPrune, r"before the LLM; got the class DivPrune: write DivPrune\(\)"),
        ("inside", FastV, r"inside the LLM; got the class FastV: write FastV\(\)"),
        ("before", FastV(), r"before the LLM; got FastV.*: write Reduction\(inside=FastV"),
        ("inside", DivPrune(), r"inside the LLM; got DivPrune.*: write Reduction\(before=DivPrune"),
        ("before", AIM(), "got AIM.*, which is a whole reduction"),
        ("before", "divprune", r'write foveate.create\("divprune"\)'),
    ],
)
def test_a_part_is_a_method_of_its_place(place, given, message, untyped):
    with pytest.raises(InputError, match=message):
        foveate.Reduction(**{place: given})


def test_off_is_known():
    assert foveate.Reduction().is_off
    assert AIM(1.0, None).is_off
    assert not AIM(1.0, (1, 2)).is_off
    assert not AIM(0.5, None).is_off


@pytest.mark.parametrize("name", PAPER)
def test_published_settings(name):
    reduction = AIM.paper(name)
    assert reduction.before.order == "reference"
    counts = {
        "llava-onevision-7b": (196, 49),
        "llava-onevision-7b-74": (196, 74),
        "llava-1.5-7b": (576, 252),
        "llava-1.5-7b-low": (576, 72),
    }
    tokens, kept = counts[name]
    from foveate.keep import kept_count

    assert kept_count(reduction.before.keep, tokens) == kept


def test_every_method_is_listed_with_its_paper():
    table = foveate.methods()
    assert {"aim", "aim-merge", "aim-prune"} <= set(table)
    for method in table.values():
        assert method.summary.endswith(".")
        assert (method.role == "baseline") is not bool(method.paper)
        assert method.source
    plain = {name for name, method in table.items() if method.role == "baseline"}
    assert plain >= {"pool", "random", "resize-grid", "stride"}
    with pytest.raises(InputError, match="stage must be one of"):
        register("x", stage="after")
    with pytest.raises(InputError, match="role must be one of"):
        register("x", stage="before", role="yardstick")
    with pytest.raises(InputError, match="'aim' is already registered"):
        register("aim", stage="both")(AIMMerge)


@pytest.mark.parametrize("layers", [8, 28])
def test_aim_meets_a_share_under_its_window(layers):
    window = mean_share(AIMPrune().schedule(layers), layers)
    for share in (0.5, 0.25, 0.0625):
        aim = AIM.for_share(share, layers)
        assert aim.keep * window == pytest.approx(share)
        assert aim.prune == (0.5, 0.786)
        assert AIMMerge.for_share(share, layers) == AIMMerge(share)
    with pytest.raises(InputError, match=f"largest: {window:.4g}"):
        AIM.for_share(0.9, layers)
    with pytest.raises(InputError, match="keep must be a share"):
        AIM.for_share(0, layers)


def test_one_tree_of_errors():
    assert issubclass(InputError, FoveateError)
    assert 'pip install "foveate[video]"' in str(MissingExtraError("video", "video"))
