"""The heart: dropping equals masking, off is off, and no trace is left."""

import threading

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import foveate
from foveate.combine.aim import AIM
from foveate.errors import InputError, NoEffectError, UnsupportedError
from foveate.models.family import families, family_of
from foveate.runtime.seams import cache_in, on_cache
from foveate.testing import GREEDY, check_no_trace, fingerprint

ONE = [[("image", 0)]]


def prompt_of(model, inputs) -> dict:
    """What the stock model feeds its LLM, but for its cache."""
    seen = {}
    hook = (
        family_of(model)
        .language_model(model.model)
        .register_forward_pre_hook(lambda _, args, kwargs: seen.update(kwargs), with_kwargs=True)
    )
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    return {name: value for name, value in seen.items() if name not in ("cache", "past_key_values")}


def test_first_pruned_layer_matches_published_code(golden):
    data = golden("pruned_llm")
    hidden, inner, depth, heads, kv_heads, vocab, before, visual, after = data[
        "case0.shape"
    ].tolist()
    family = families()["llava"]
    config = family.tiny().config
    from transformers import LlavaConfig, LlavaForConditionalGeneration, Qwen2Config

    text = Qwen2Config(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=depth,
        num_attention_heads=heads, num_key_value_heads=kv_heads, vocab_size=vocab,
        rope_theta=1e6, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=config.vision_config, text_config=text, image_token_index=127)
    ).eval()
    prefix = "case0.state.model."
    llm = {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}
    model.model.language_model.load_state_dict(llm)
    model.lm_head.load_state_dict({"weight": data["case0.state.lm_head.weight"]})
    embeds = data["case0.inputs_embeds"]

    class Given(nn.Module):
        def forward(self, features):
            return embeds[:, before : before + visual]

    model.model.multi_modal_projector = Given()
    count = before + visual + after
    text_rows = [row for row in range(count) if not before <= row < before + visual]
    model.model.language_model.embed_tokens.weight.data[: len(text_rows)] = embeds[0, text_rows]
    ids = torch.full((1, count), 127)
    ids[0, text_rows] = torch.arange(len(text_rows))
    states = {}
    with torch.no_grad(), foveate.reduce(model, AIM(keep=1.0, prune=(14, 22))) as run:
        for layer in (14, 15):
            model.model.language_model.layers[layer].register_forward_hook(
                lambda _, __, output, layer=layer: states.update({layer: output})
            )
        model(input_ids=ids, pixel_values=family.tiny_inputs(config, ONE)["pixel_values"])
    for layer in (14, 15):
        torch.testing.assert_close(
            states[layer][:, -after:],
            data[f"case0.hidden_after_layer{layer}_text"],
            rtol=0,
            atol=1e-3,
        )
    ours = [gone != 14 for gone in run.report.pruned_after[0]]
    published = data["case0.keep_after_layer"][14, before : before + visual].bool().tolist()
    assert ours == published
    assert sum(ours) == 56
    assert run.report.visual_tokens_by_layer[0] == [64] * 15 + [56, 48, 40, 32, 24, 16, 8] + [0] * 6


def test_fewer_flops_are_executed(tiny):
    model, inputs = tiny
    model.requires_grad_(False)  # torch's counter hooks gradients of parameters that are inputs
    model.set_attn_implementation("eager")  # and does not know SDPA's CPU kernel
    model.set_experts_implementation("eager")  # others compute what no token picked
    # some heads say all rows' logits, whatever is asked
    model.lm_head.register_forward_pre_hook(lambda _, args: (args[0][:, -1:],))
    prompt = prompt_of(model, inputs)
    with torch.no_grad(), FlopCounterMode(display=False) as stock:
        family_of(model).language_model(model.model)(**prompt)
        model.lm_head(prompt["inputs_embeds"][:, -1:])
    with torch.no_grad(), foveate.reduce(model, AIM(0.25, (2, 4))) as run:
        model(**inputs, logits_to_keep=1)  # shape caches are warm now
        with FlopCounterMode(display=False) as reduced:
            model(**inputs, logits_to_keep=1)
    with torch.no_grad(), FlopCounterMode(display=False) as whole:
        model(**inputs, logits_to_keep=1)
    saved = whole.get_total_flops() - reduced.get_total_flops()
    report = run.report
    promised = report.prefill_flops_unreduced - report.prefill_flops
    assert saved == pytest.approx(promised, rel=0.03)
    assert stock.get_total_flops() == pytest.approx(run.report.prefill_flops_unreduced, rel=0.01)
    assert report.prefill_flops < 0.6 * report.prefill_flops_unreduced


def test_no_trace_is_left_by_encoder_merging():
    family = families()["llava"]
    model = family.tiny()
    merge = AIM.paper("llava-1.5-7b-low").before
    inputs = family.tiny_inputs(model.config, ONE)
    check_no_trace(model, inputs, foveate.Reduction(before=merge))


def test_encoder_merging_projects_what_was_merged():
    family = families()["llava"]
    torch.manual_seed(0)
    model = family.tiny()
    inputs = family.tiny_inputs(model.config, ONE)
    seen = {}
    model.model.multi_modal_projector.register_forward_pre_hook(
        lambda _, args: seen.update(features=seen.get("features", args[0]))
    )
    family.encoder_keys(model.model).register_forward_hook(
        lambda _, __, output: seen.update(keys=output[:, 1:])
    )
    given = {}
    model.model.language_model.layers[0].register_forward_pre_hook(
        lambda _, args: given.update(states=args[0])
    )
    merge = AIM.paper("llava-1.5-7b").before
    with torch.no_grad(), foveate.reduce(model, foveate.Reduction(before=merge)):
        model(**inputs)
        merged = merge(seen["features"], keys=seen["keys"])
        expected = model.model.multi_modal_projector(merged.features)
    assert merged.features.shape[1] == 28
    torch.testing.assert_close(given["states"][:, 3:31], expected)


def test_text_only_prompt_passes_unchanged(tiny):
    model, _ = tiny
    ids = torch.tensor([[1, 2, 3, 4]])
    stock = model.generate(ids, **GREEDY)
    with foveate.reduce(model, AIM(0.25, (2, 4))) as run:
        assert torch.equal(model.generate(ids, **GREEDY), stock)
    assert run.reports == []
    with pytest.raises(NoEffectError, match="no prompt with visual tokens"):
        _ = run.report


OFF = {
    "off": foveate.Reduction(),
    "keep all": AIM(1.0, None),
    "choose all": lambda _: AIM(1.0, None),
}


@torch.no_grad()
def behind_a_prefix(model, inputs):
    """Logits of a prompt with a picture behind four tokens of text."""
    cache = cache_in(model(input_ids=torch.tensor([[1, 2, 3, 4]]), use_cache=True))
    past, count = cache.get_seq_length(), inputs["input_ids"].shape[1]
    given = {**inputs, "attention_mask": torch.ones(1, past + count, dtype=torch.long)}
    if family_of(model).grid_positions:  # which stock models cannot make behind a prefix
        given["position_ids"] = torch.arange(past, past + count).expand(3, 1, -1)
    return model(**given, **on_cache(model, cache)).logits


@pytest.mark.sampled
@pytest.mark.parametrize("off", OFF.values(), ids=OFF)
def test_off_is_off_behind_a_cached_prefix(tiny, off):
    model, inputs = tiny
    stock = behind_a_prefix(model, inputs)
    with foveate.reduce(model, off) as run:
        assert torch.equal(behind_a_prefix(model, inputs), stock)
    assert not run.report.fired


def test_a_prompt_whose_pictures_cannot_be_found_is_refused(tiny):
    model, inputs = tiny
    blind = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    rest = {name: value for name, value in inputs.items() if name != "input_ids"}
    with torch.no_grad():
        stock = model(**blind).logits
        with foveate.reduce(model, AIM(0.5, None)):
            with pytest.raises(InputError, match="no pixels for the prompt's"):
                model(**blind)
            with pytest.raises(UnsupportedError, match="inputs_embeds alone"):
                model(inputs_embeds=embeds, **rest)
        with foveate.reduce(model, foveate.Reduction()):
            assert torch.equal(model(**blind).logits, stock)


def test_a_model_may_say_a_placeholder(tiny):
    model, inputs = tiny
    said = torch.tensor([[*family_of(model).placeholders(model.config).values()]])
    text = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        cache = cache_in(model(input_ids=text, use_cache=True))
        stock = model(input_ids=said, **on_cache(model, cache)).logits
        with foveate.reduce(model, AIM(0.5, None)):
            cache = cache_in(model(input_ids=text, use_cache=True))
            assert torch.equal(model(input_ids=said, **on_cache(model, cache)).logits, stock)
            cache = cache_in(model(**inputs, use_cache=True))
            assert model(input_ids=said, **on_cache(model, cache)).logits.isfinite().all()


def test_two_models_do_not_see_each_other(tiny):
    model, inputs = tiny
    other = families()[model.config.model_type].tiny()
    with torch.no_grad():
        stock = other(**inputs).logits
        with foveate.reduce(model, AIM(0.25, (2, 4))):
            assert torch.equal(other(**inputs).logits, stock)


def test_two_threads_with_two_reductions_do_not_disturb_each_other(tiny):
    model, inputs = tiny
    wanted = [AIM(0.25, (2, 4)), AIM(0.5, None), foveate.Reduction()]

    def generate(reduction, results):
        with torch.no_grad(), foveate.reduce(model, reduction) as run:
            for _ in range(3):
                results.append(model.generate(**inputs, **GREEDY).tolist())
            results.append(run.report.visual_tokens_by_layer)

    alone: list[list] = [[] for _ in wanted]
    for reduction, results in zip(wanted, alone, strict=True):
        generate(reduction, results)
    together: list[list] = [[] for _ in wanted]
    threads = [
        threading.Thread(target=generate, args=pair) for pair in zip(wanted, together, strict=True)
    ]
    before = fingerprint(model)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    assert fingerprint(model) == before


def test_an_exception_inside_the_model_leaves_no_trace(tiny):
    model, inputs = tiny
    with torch.no_grad():
        stock = model(**inputs).logits
    before = fingerprint(model)

    def explode(*_):
        raise KeyError("in layer 3")

    layers = family_of(model).language_model(model.model).layers
    handle = layers[3].register_forward_pre_hook(explode)
    with pytest.raises(KeyError), torch.no_grad(), foveate.reduce(model, AIM(0.25, (2, 4))):
        model(**inputs)
    handle.remove()
    assert fingerprint(model) == before
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, stock)


def test_a_reduction_without_effect_raises():
    family = families()["llava"]
    model = family.tiny()
    with (
        pytest.raises(NoEffectError, match="changed nothing"),
        foveate.reduce(model, AIM(0.999, None)),
    ):
        model(**family.tiny_inputs(model.config, ONE))


def test_what_cannot_be_reduced_says_so(tiny):
    model, inputs = tiny
    with pytest.raises(UnsupportedError, match=r"Linear.*supported: .*gemma3, .*smolvlm"):
        foveate.reduce(nn.Linear(2, 2), AIM()).__enter__()
    with pytest.raises((InputError, TypeError), match="Reduction"):
        foveate.reduce(model, "aim").__enter__()
    with pytest.raises(InputError, match="6 layers"):
        foveate.reduce(model, AIM(0.5, (14, 22))).__enter__()
    with foveate.reduce(model, AIM()), pytest.raises(InputError, match="already inside"):
        foveate.reduce(model, AIM()).__enter__()
    with foveate.reduce(model, AIM()), pytest.raises(UnsupportedError, match="StaticCache"):
        model.generate(**inputs, **GREEDY, cache_implementation="static")
    pixels = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
    with foveate.reduce(model, AIM()), pytest.raises(InputError, match="no picture in the prompt"):
        model(input_ids=torch.tensor([[1, 2, 3]]), **pixels)


def test_a_forward_that_failed_leaves_nothing_behind(tiny):
    model, inputs = tiny
    llm = family_of(model).language_model(model.model)
    embeds = torch.randn(1, 5, llm.config.hidden_size, generator=torch.Generator().manual_seed(0))

    def explode(*_):
        raise KeyError("in layer 3")

    with torch.no_grad():
        stock = llm(inputs_embeds=embeds).last_hidden_state
        wanted = None
        with foveate.reduce(model, AIM(0.25, (2, 4))) as run:
            wanted = model(**inputs).logits
            handle = llm.layers[3].register_forward_pre_hook(explode)
            with pytest.raises(KeyError):
                model(**inputs)
            handle.remove()
            assert torch.equal(llm(inputs_embeds=embeds).last_hidden_state, stock)
            assert torch.equal(model(**inputs).logits, wanted)
    assert len(run.reports) == 2
