"""How often the host waits for the device: a few times a request, never for a layer or a token."""

from pathlib import Path
from unittest import mock

import pytest
import torch

import foveate
from foveate import testing
from foveate.errors import UnsupportedError
from foveate.models.family import families, family_of
from foveate.runtime.hooks import Hook
from foveate.runtime.seams import cache_in, on_cache
from pretend import pretend
from syncs import Syncs

# a request's, above the model's own: where placeholders and padding are, the sizes of its pictures, its
# positions, and the report
MOST = 4
PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "first-token.md"
CASES = [
    (name, modality)
    for name in ("llava_onevision", "llava", "qwen2_5_vl")
    for modality in families()[name].modalities
]
REDUCTIONS = {
    "off": foveate.Reduction(),
    "aim": foveate.AIM(keep=0.5, prune=(0.25, 1.0)),
    "fovea": foveate.create("fovea", keep=0.5),
}
STEPS = 4


def built(name, layers):
    """A tiny model whose LLM has so many layers."""
    model, _ = testing.tiny(name)
    config = model.config
    text = config.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:1] * layers
    torch.manual_seed(0)
    made = type(model)(config).eval()
    made.generation_config.pad_token_id = 0
    return made


def waits(name, modality, reduction, *, layers=4, samples=1, tokens=1):
    """How often the host waits for an answer of so many tokens, and where."""
    model = built(name, layers)
    pictures = [[(modality, 0)], [(modality, 1), (modality, 2)], [(modality, 0)]][:samples]
    inputs = family_of(model).tiny_inputs(model.config, pictures)
    answer = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
    with pretend() as there:
        model, inputs = there(model), there(inputs)
        if reduction is None:
            with Syncs() as syncs:
                model.generate(**inputs, **answer)
        else:
            with foveate.reduce(model, reduction) as run, Syncs() as syncs:
                model.generate(**inputs, **answer)
                assert run.report.samples  # to be read is part of it
            assert run.report.fired != reduction.is_off
    return syncs


@pytest.mark.sampled
@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_request_waits_a_few_times_whatever_its_layers_and_samples(case, kind):
    added = []
    for layers, samples in ((4, 1), (8, 1), (4, 3)):
        size = {"layers": layers, "samples": samples}
        stock = waits(*case, None, **size)
        reduced = waits(*case, REDUCTIONS[kind], **size)
        added.append(reduced.total - stock.total)
        assert added[-1] <= MOST, reduced.where
    assert added[0] == added[1]


@pytest.mark.sampled
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_token_waits_no_more_than_stock(case, kind, samples):
    def of_tokens(reduction):
        short, long = (
            waits(*case, reduction, samples=samples, tokens=tokens) for tokens in (1, 1 + STEPS)
        )
        return long.total - short.total

    stock = of_tokens(None)
    assert stock >= STEPS  # generate asks whether all samples are done
    assert of_tokens(REDUCTIONS[kind]) <= stock


def test_the_page_says_the_number():
    assert f"waits for the device at most {MOST} times a request" in " ".join(
        PAGE.read_text().split()
    )


def test_what_waits_is_counted():
    with pretend() as there, Syncs() as syncs:
        made, mask = there(torch.arange(6.0)), there(torch.arange(6) > 2)
        for wait in (
            made[0].item, made.tolist, lambda: bool(mask[0]), lambda: made[mask], made.nonzero,
            lambda: made.unique(), lambda: made.cpu(), lambda: torch.ones(2).to(made.device),
            lambda: torch.tensor([1.0], device=made.device), lambda: made.new_tensor([1.0]),
            lambda: torch.equal(made, made), lambda: made.long().bincount(),
            lambda: int(made.sum()), lambda: made.__setitem__(mask.long(), 1.0),
            lambda: made.repeat_interleave(mask.long()),
        ):  # fmt: skip
            before = syncs.total
            wait()
            assert syncs.total == before + 1, syncs.where
        before = syncs.total
        for go_on in (
            lambda: made.gather(0, mask.long()), lambda: made[mask.long()], lambda: made.sum() + 1,
            lambda: torch.ones(2).to(made.device, non_blocking=True), lambda: made.shape[0],
            lambda: made.masked_fill(mask, 0.0), lambda: made.argsort()[:2],
        ):  # fmt: skip
            go_on()
        assert syncs.total == before


def hooks_of_a_step(model, inputs, reduction):
    """By module's class, how many hooks ran for one token behind a prompt."""
    ran = []

    def run(hook, module, *values):
        ran.append(type(module).__name__)
        return plain(hook, module, *values)

    plain, batch = Hook.__call__, len(inputs["input_ids"])
    with torch.no_grad(), foveate.reduce(model, reduction):
        cache = cache_in(model(**inputs, use_cache=True))
        mask = torch.cat([inputs["attention_mask"], torch.ones(batch, 1).long()], dim=1)
        step = {"input_ids": torch.full((batch, 1), 10), "attention_mask": mask}
        if family_of(model).grid_positions:  # stock models cannot count them for so long a mask
            step["position_ids"] = torch.full((3, batch, 1), mask.shape[1])
        with mock.patch.object(Hook, "__call__", run):
            model(**step, **on_cache(model, cache))
    return ran


@pytest.mark.parametrize("name", ["llava_onevision", "llava", "qwen2_5_vl"])
def test_no_hook_runs_in_a_layer_for_a_token_unless_it_needs_a_mask(name):
    model = built(name, 6)
    layer = type(family_of(model).language_model(model.model).layers[0]).__name__
    alone, ragged = (
        family_of(model).tiny_inputs(model.config, [[("image", 0)] * n for n in counts])
        for counts in ([1], [1, 2])
    )
    pruned, merged = foveate.AIM(0.5, (1, 4)), foveate.AIM(0.5, None)
    of_model = hooks_of_a_step(model, alone, foveate.Reduction())
    assert len(of_model) == 6
    for inputs, reduction in ((alone, pruned), (alone, merged), (ragged, merged)):
        assert hooks_of_a_step(model, inputs, reduction) == of_model
    # layers of different lengths, and padding in them
    assert sorted(hooks_of_a_step(model, ragged, pruned)) == sorted(of_model + [layer] * 6)


def stepped(model, inputs, mask_of, steps):
    """Tokens one by one behind a reduced prompt, each with what `mask_of` makes of the right mask."""
    mask, there = inputs["attention_mask"], inputs["attention_mask"].device
    with foveate.reduce(model, foveate.AIM(0.5, (1, 4))):
        cache = cache_in(model(**inputs, use_cache=True))
        for step in range(steps):
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            ids = torch.full((len(mask), 1), 10, device=there)
            given = mask_of(step, mask)
            out = model(input_ids=ids, attention_mask=given, **on_cache(model, cache))
            mask = torch.cat([mask[:, :-1], given[:, -1:]], dim=1)
    return out.logits, cache


@pytest.mark.parametrize("wrong_at", [0, 1, 2])
def test_a_wrong_mask_is_refused_on_a_gpu_by_the_next_step_at_the_latest(wrong_at):
    model = built("llava", 6)
    inputs = family_of(model).tiny_inputs(model.config, [[("image", 0)], [("image", 0)] * 2])
    asked = []

    def mask_of(step, mask):
        asked.append(step)
        return torch.ones_like(mask) if step == wrong_at else mask

    with pretend() as there, pytest.raises(UnsupportedError, match="in the reduced cache already"):
        stepped(there(model), there(inputs), mask_of, 3)
    assert asked[-1] <= wrong_at + 1


def test_padding_among_new_tokens_is_the_same_on_a_gpu():
    inputs = [[("image", 0)], [("image", 0)]]
    model = built("llava", 6)
    inputs = family_of(model).tiny_inputs(model.config, inputs)

    def mask_of(step, mask):
        hidden = mask.clone()
        if step == 1:
            hidden[1, -1:].fill_(0)
        return hidden

    with torch.no_grad():
        here, _ = stepped(model, inputs, mask_of, 4)
        plain, _ = stepped(model, inputs, lambda step, mask: mask, 4)
    assert not torch.allclose(here[1], plain[1])
    with pretend() as there:
        gone, _ = stepped(there(model), there(inputs), mask_of, 4)
    torch.testing.assert_close(gone.here, here, rtol=0, atol=1e-6)
