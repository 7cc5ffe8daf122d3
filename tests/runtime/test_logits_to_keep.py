"""Rows out of the ordinary: packed documents, holes, masked pictures, logits that are asked for."""

from inspect import signature

import pytest
import torch
from transformers import DynamicCache

import foveate
from foveate.combine.aim import AIM
from foveate.errors import InputError, UnsupportedError
from foveate.models.family import families, family_of
from foveate.runtime.seams import cache_in, on_cache
from foveate.testing import tiny as make_tiny

BOTH = AIM(0.25, (2, 4))
MERGE = AIM(0.25, None)
PRUNE = AIM(1.0, (2, 4))
OFF = foveate.Reduction()
ON = {"merge": MERGE, "prune": PRUNE, "both": BOTH}
FAMILIES = tuple(families())
METHODS = foveate.methods()
BEFORE = [name for name, method in METHODS.items() if method.stage != "inside"]
INSIDE = [name for name, method in METHODS.items() if method.stage == "inside"]


@pytest.fixture(params=FAMILIES)
def one(request):
    """(model, inputs) of each family with one image."""
    return make_tiny(request.param)


@pytest.fixture
def partly(one):
    """The same, where the head says some rows' logits alone."""
    if "logits_to_keep" not in signature(type(one[0]).forward).parameters:
        pytest.skip(f"{type(one[0]).__name__} says all logits")
    return one


@torch.no_grad()
def logits(model, inputs, reduction, **options):
    with foveate.reduce(model, reduction):
        return model(**inputs, **options).logits


def visual_rows(model, inputs):
    tokens = list(family_of(model).placeholders(model.config).values())
    return torch.isin(inputs["input_ids"][0], torch.tensor(tokens)).nonzero()[:, 0]


# --- several documents in a row -------------------------------------------------------------------


def packed(model):
    """Two documents, each with a picture, one behind the other."""
    family = family_of(model)
    one = family.tiny_inputs(model.config, [[("image", 0)]])
    inputs = family.tiny_inputs(model.config, [[("image", 0)]] * 2)
    length = one["input_ids"].shape[1]
    for name, value in one.items():
        if value.dim() == 2 and value.shape[1] == length:
            inputs[name] = torch.cat([value] * 2, dim=1)
    del inputs["attention_mask"]
    return inputs, length


@pytest.mark.sampled
@pytest.mark.parametrize("reduction", ON.values(), ids=ON)
def test_packed_documents_are_refused_before_the_model_runs(one, reduction):
    model, _ = one
    inputs, length = packed(model)
    places = torch.arange(length).repeat(2)[None]
    given = [places]
    if family_of(model).grid_positions:
        given = [places.expand(3, -1, -1), places.expand(4, -1, -1)]
    layers = family_of(model).language_model(model.model).layers
    ran = []
    handle = layers[0].register_forward_hook(lambda *_: ran.append(1))
    for position_ids in given:
        with pytest.raises(UnsupportedError, match="several documents"):
            logits(model, {**inputs, "position_ids": position_ids}, reduction)
    with pytest.raises(UnsupportedError, match="several documents"):
        logits(model, {**inputs, "cu_seq_lens_q": torch.tensor([0, length])}, reduction)
    assert not ran
    handle.remove()
    for position_ids in given:
        own = {**inputs, "position_ids": position_ids}
        with torch.no_grad():
            assert torch.equal(logits(model, own, OFF), model(**own).logits)


def test_positions_of_padded_rows_are_no_documents(one):
    """As `generate` counts them: from 0 at each sample's first token, 1 at padding."""
    model, _ = one
    family = family_of(model)
    if family.grid_positions:
        return  # their positions are the model's own
    inputs = family.tiny_inputs(model.config, [[("image", 0)], []])
    places = (inputs["attention_mask"].cumsum(1) - 1).masked_fill(inputs["attention_mask"] == 0, 1)
    given = logits(model, {**inputs, "position_ids": places}, MERGE)
    assert given.isfinite().all()


# --- holes in the mask ----------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("reduction", ON.values(), ids=ON)
def test_a_hole_hides_its_token_and_nothing_else(one, reduction, cached):
    model, inputs = one
    place = int(visual_rows(model, inputs)[-1]) + 1
    inputs["attention_mask"] = inputs["attention_mask"].clone()
    inputs["attention_mask"][0, place] = 0
    options = {"use_cache": cached}
    whole = logits(model, inputs, reduction, **options)[0, -1]
    pixels = {**inputs, "pixel_values": 3 * inputs["pixel_values"].flip(-1)}
    assert (logits(model, pixels, reduction, **options)[0, -1] - whole).abs().max() > 1e-3
    if place == inputs["input_ids"].shape[1] - 5:  # a word of text, not the end of a picture
        other = {**inputs, "input_ids": inputs["input_ids"].clone()}
        other["input_ids"][0, place] = 77
        torch.testing.assert_close(logits(model, other, reduction, **options)[0, -1], whole)


@pytest.mark.sampled
@pytest.mark.parametrize("reduction", ON.values(), ids=ON)
def test_a_hole_is_as_a_token_that_is_not_there(one, reduction):
    """Beside its twin: the prompt without the token, whose positions have a gap."""
    model, inputs = one
    if family_of(model).grid_positions or family_of(model).blocks(inputs) is not None:
        return  # the twin's positions and blocks cannot be said there
    place = inputs["input_ids"].shape[1] - 2
    mask = inputs["attention_mask"].clone()
    mask[0, place] = 0
    holed = logits(model, {**inputs, "attention_mask": mask}, reduction)[0, -1]
    rest = [row for row in range(mask.shape[1]) if row != place]
    names = ("input_ids", "attention_mask")
    twin = {**inputs, **{name: inputs[name][:, rest] for name in names}}
    twin["position_ids"] = torch.tensor([rest])
    cache = on_cache(model, DynamicCache(config=model.config.get_text_config()))
    torch.testing.assert_close(logits(model, twin, reduction, **cache)[0, -1], holed)


# --- masked visual tokens -------------------------------------------------------------------------


def half_masked(model, inputs):
    rows = visual_rows(model, inputs)
    mask = inputs["attention_mask"].clone()
    mask[0, rows[len(rows) // 2 :]] = 0
    return {**inputs, "attention_mask": mask}


@pytest.mark.parametrize("name", [n for n in BEFORE if METHODS[n].stage != "encode"])
def test_masked_visual_tokens_are_not_merged(name):
    model, inputs = make_tiny("llava")
    with pytest.raises(UnsupportedError, match="hidden by the attention mask"):
        logits(model, half_masked(model, inputs), foveate.create(name, keep=0.25))


def test_masked_visual_tokens_are_refused_by_every_family(one):
    model, inputs = one
    masked = half_masked(model, inputs)
    if not family_of(model).grid_positions:  # which stock models cannot make for half a picture
        with torch.no_grad():
            assert torch.equal(logits(model, masked, OFF), model(**masked).logits)
    for reduction in (MERGE, BOTH):
        with pytest.raises(UnsupportedError, match="hidden by the attention mask"):
            logits(model, masked, reduction)


@pytest.mark.parametrize("name", INSIDE)
def test_masked_visual_tokens_do_not_matter_to_pruning(name, monkeypatch):
    model, inputs = make_tiny("llava")
    masked, count = half_masked(model, inputs), len(visual_rows(model, inputs))
    share = {"sparsevlm": 0.6, "vtw": 0.6}.get(name, 0.8)
    pruner = foveate.Reduction(inside=METHODS[name].build.for_share(share, layers=6))
    wanted = logits(model, masked, pruner)[0, -1]
    encode = model.model.get_image_features

    def noisy(*args, **kwargs):
        output = encode(*args, **kwargs)
        for features in output.pooler_output:
            features[count // 2 :] += 1.0
        return output

    monkeypatch.setattr(model.model, "get_image_features", noisy)
    torch.testing.assert_close(logits(model, masked, pruner)[0, -1], wanted)


# --- rows whose logits are asked for --------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("reduction", ON.values(), ids=ON)
@pytest.mark.parametrize("padding", ["left", "right"])
def test_asked_rows_are_rows_of_the_prompt(partly, reduction, padding):
    model, _ = partly
    family = family_of(model)
    samples = [[("image", 0)], [("image", 1)]]
    inputs = family.tiny_inputs(model.config, samples, padding)
    mask = inputs["attention_mask"].bool()
    tokens = torch.tensor(list(family.placeholders(model.config).values()))
    visual = torch.isin(inputs["input_ids"], tokens)
    ahead = visual.cumsum(1) == 0
    behind = visual.flip(1).cumsum(1).flip(1) == 0
    asked = (mask & (ahead | behind)).all(0).nonzero()[:, 0]
    assert len(asked) >= 3
    with foveate.reduce(model, reduction) as run, torch.no_grad():
        whole = model(**inputs).logits
        got = model(**inputs, logits_to_keep=asked).logits
        if padding == "left":
            assert torch.equal(model(**inputs, logits_to_keep=2).logits, whole[:, -2:])
    report = run.report
    for sample, layers in enumerate(report.visual_tokens_by_layer):
        real = mask[sample].nonzero()[:, 0]
        count = layers[-1] + report.text_tokens[sample]  # rows of this sample that are left
        start = whole.shape[1] - count if padding == "left" else 0
        first, last = int(real[0]), int(real[-1])
        for number, row in enumerate(asked.tolist()):
            place = start + row - first if ahead[sample, row] else start + count - 1 - last + row
            torch.testing.assert_close(got[sample, number], whole[sample, place])


def test_asking_for_rows_that_may_be_gone_is_refused(partly):
    model, inputs = partly
    ran = []
    handle = model.model.register_forward_hook(lambda *_: ran.append(1))
    row = int(visual_rows(model, inputs)[0])
    for asked in (torch.tensor([row]), inputs["input_ids"].shape[1], torch.tensor([[0]])):
        with pytest.raises(UnsupportedError, match="logits_to_keep"):
            logits(model, inputs, MERGE, logits_to_keep=asked)
    assert not ran
    handle.remove()
    with torch.no_grad():
        stock = model(**inputs, logits_to_keep=torch.tensor([row])).logits
        assert torch.equal(logits(model, inputs, OFF, logits_to_keep=torch.tensor([row])), stock)


def test_a_prompt_of_embeddings_is_refused(one):
    model, inputs = one
    embeds = model.get_input_embeddings()(inputs["input_ids"]).detach()
    with pytest.raises(UnsupportedError, match="inputs_embeds alone"):
        logits(model, {"inputs_embeds": embeds}, BOTH)
    with torch.no_grad():
        stock = model(inputs_embeds=embeds).logits
    assert torch.equal(logits(model, {"inputs_embeds": embeds}, OFF), stock)


# --- masks that do not go with their tokens -------------------------------------------------------


@pytest.mark.parametrize("columns", [-3, 9])
def test_a_mask_of_another_length_is_refused(one, columns):
    model, inputs = one
    mask = inputs["attention_mask"]
    longer = torch.cat([mask, torch.zeros(1, max(columns, 0), dtype=mask.dtype)], dim=1)
    given = {**inputs, "attention_mask": longer[:, : mask.shape[1] + columns]}
    for reduction in (MERGE, PRUNE):
        with pytest.raises(UnsupportedError, match=r"attention mask has \d+ columns"):
            logits(model, given, reduction)
    try:
        with torch.no_grad():
            stock = model(**given).logits
    except (RuntimeError, IndexError):
        return  # not in stock either
    assert torch.equal(logits(model, given, OFF), stock)


def test_a_later_turn_cannot_hide_what_is_cached(one):
    model, inputs = one
    step = {"input_ids": torch.tensor([[9]])}
    count = inputs["input_ids"].shape[1] + 1
    whole = torch.ones(1, count, dtype=torch.long)
    hidden = whole.clone()
    hidden[0, 1] = 0
    for reduction in (MERGE, PRUNE):
        with torch.no_grad(), foveate.reduce(model, reduction):
            cases = {"in the reduced cache already": hidden}
            if not family_of(model).grid_positions:  # which stock models cannot make of these
                cases |= {"columns": whole[:, :1], "prepared one": torch.zeros(1, 1, 1, count)}
            if family_of(model).grid_positions:
                step["position_ids"] = torch.full((3, 1, 1), count - 1)
            for refused, mask in cases.items():
                cache = on_cache(model, cache_in(model(**inputs, use_cache=True)))
                with pytest.raises(UnsupportedError, match=refused):
                    model(**step, attention_mask=mask, **cache)
            cache = on_cache(model, cache_in(model(**inputs, use_cache=True)))
            assert model(**step, attention_mask=whole, **cache).logits.isfinite().all()


def test_rows_that_the_prompt_does_not_have(partly):
    model, inputs = partly
    count = inputs["input_ids"].shape[1]
    for asked in ([count], [-count - 1], [0, 10 * count]):
        with pytest.raises(InputError, match="logits_to_keep asks for rows"):
            logits(model, inputs, MERGE, logits_to_keep=torch.tensor(asked))
    with pytest.raises(UnsupportedError, match="logits_to_keep must be a count"):
        logits(model, inputs, MERGE, logits_to_keep=-3)
    whole = logits(model, inputs, MERGE)
    none = logits(model, inputs, MERGE, logits_to_keep=torch.tensor([], dtype=torch.long))
    assert none.shape == (1, 0, whole.shape[2])
    last = logits(model, inputs, MERGE, logits_to_keep=torch.tensor([-1]))
    torch.testing.assert_close(last, whole[:, -1:])


def test_asked_rows_are_forgotten_with_a_forward_that_failed(one):
    model, inputs = one

    def explode(*_):
        raise KeyError("in the LLM")

    llm = family_of(model).language_model(model.model)
    with torch.no_grad(), foveate.reduce(model, MERGE):
        whole = model.model(**inputs).last_hidden_state
        handle = llm.register_forward_pre_hook(explode)
        with pytest.raises(KeyError):
            model(**inputs, logits_to_keep=torch.tensor([0, 1]))
        handle.remove()
        assert model.model(**inputs).last_hidden_state.shape == whole.shape
