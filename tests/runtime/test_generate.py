"""Ways to generate: sampling, beams, turns, dtypes, many generations, and what is refused."""

import copy
import gc

import pytest
import torch
from transformers import DynamicCache

import foveate
from foveate.combine.aim import AIM
from foveate.cost.llm import prefill_cost
from foveate.errors import UnsupportedError
from foveate.models.family import families, family_of
from foveate.runtime.reduced_cache import ReducedCache
from foveate.runtime.seams import cache_in, on_cache
from foveate.testing import GREEDY, masked_generation, tiny

HALF = AIM(0.5, (1, 4))
MERGED = AIM(0.5, None)  # keeps the same tokens whatever text follows
FAMILIES = tuple(families())


@pytest.fixture(params=FAMILIES)
def one(request):
    """(model, inputs) of each family with one image."""
    return tiny(request.param)


def texts(model, inputs, **options):
    return model.generate(**inputs, **options)[:, inputs["input_ids"].shape[1] :].tolist()


def test_sampling_is_seeded_and_its_samples_share_a_prompt(one):
    model, inputs = one
    options = {"do_sample": True, "max_new_tokens": 12, "min_new_tokens": 12}
    with foveate.reduce(model, HALF):
        torch.manual_seed(0)
        first = texts(model, inputs, **options, num_return_sequences=3)
        torch.manual_seed(0)
        again = texts(model, inputs, **options, num_return_sequences=3)
    assert first == again
    assert len({tuple(text) for text in first}) > 1


def test_beam_search_finds_what_the_whole_sequence_recomputed_finds(one):
    model, inputs = one
    stock, plain, *_ = best_beam(model, inputs, foveate.Reduction())
    if stock != pytest.approx(plain, abs=1e-4):
        pytest.skip(
            f"{model.config.model_type}: stock beam search of this transformers is off itself"
        )
    said, recomputed, scores = best_beam(model, inputs, MERGED)
    assert sorted(scores, reverse=True) == scores
    assert said == pytest.approx(recomputed, abs=1e-4)
    with foveate.reduce(model, MERGED) as run:
        greedy = texts(model, inputs, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    assert len(run.report.visual_tokens_in) == 1
    assert said >= mean_logprob(model, inputs, MERGED, greedy[0]) - 1e-5


def best_beam(model, inputs, reduction):
    """Score of the best beam as generate says it, and step by step without a cache; all scores."""
    with torch.no_grad(), foveate.reduce(model, reduction):
        beams = model.generate(
            **inputs, num_beams=3, num_return_sequences=3, max_new_tokens=6, min_new_tokens=6,
            do_sample=False, output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
    found = beams.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    scores = beams.sequences_scores.tolist()
    return scores[0], mean_logprob(model, inputs, reduction, found), scores


def mean_logprob(model, inputs, reduction, tokens):
    """Mean log probability of `tokens`, each asked for with a prompt of its own."""
    total = 0.0
    for count, token in enumerate(tokens):
        asked = {
            name: torch.cat([value, torch.tensor([[*tokens[:count]]], dtype=value.dtype)], dim=1)
            if name == "input_ids"
            else torch.cat(
                [value, value.new_full((1, count), int(name == "attention_mask"))], dim=1
            )
            if name in ("attention_mask", "token_type_ids", "mm_token_type_ids")
            else value
            for name, value in inputs.items()
        }
        with torch.no_grad(), foveate.reduce(model, reduction):
            logits = model(**asked).logits[0, -1]
        total += float(logits.log_softmax(-1)[token])
    return total / len(tokens)


def test_a_second_turn_goes_on_from_the_first_turns_cache(one):
    model, inputs = one
    follow_up = torch.tensor([[10, 11, 12, 13]])
    with torch.no_grad(), foveate.reduce(model, MERGED):
        cache = DynamicCache(config=family_of(model).language_model(model.model).config)
        out = model.generate(
            **inputs, **GREEDY, **on_cache(model, cache), return_dict_in_generate=True
        )
        ids = torch.cat([out.sequences, follow_up], dim=1)
        assert isinstance(cache, ReducedCache)
        assert cache.get_seq_length() == ids.shape[1] - 1 - follow_up.shape[1]
        branch = copy.deepcopy(cache)  # one prompt, several questions
        second = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **GREEDY, **on_cache(model, cache)
        )[0, ids.shape[1] :].tolist()
        again = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **GREEDY, **on_cache(model, branch)
        )[0, ids.shape[1] :].tolist()
        # as one long prompt: the answer and the second question are text behind the picture
        whole = dict(inputs)
        for name in ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"):
            if name in inputs:
                tail = ids[:, inputs["input_ids"].shape[1] :]
                fill = {"input_ids": tail, "attention_mask": torch.ones_like(tail)}
                whole[name] = torch.cat(
                    [inputs[name], fill.get(name, torch.zeros_like(tail))], dim=1
                )
        expected = texts(model, whole, **GREEDY)[0]
    assert second == again == expected


@pytest.mark.sampled
@pytest.mark.parametrize("reduction", [AIM(1.0, (1, 4)), HALF], ids=["pruned", "both"])
@pytest.mark.parametrize("name", FAMILIES)
def test_beams_of_a_ragged_batch_are_scored_as_their_tokens_one_by_one(name, reduction):
    model, _ = tiny(name)
    image = next(iter(family_of(model).placeholders(model.config)))
    samples = [[(image, 0)], [], [(image, 1), (image, 2)]]
    inputs = family_of(model).tiny_inputs(model.config, samples)
    stock, plain = beams_and_forced(model, inputs, foveate.Reduction())
    if not torch.allclose(stock, plain, atol=1e-4):  # 5.17: where a sample has two pictures
        pytest.skip(f"{name}: stock beam search of this transformers is off itself")
    said, forced = beams_and_forced(model, inputs, reduction)
    torch.testing.assert_close(said, forced, rtol=0, atol=1e-4)
    assert not torch.allclose(said, stock, atol=1e-4)


def beams_and_forced(model, inputs, reduction):
    """Scores (B,) of the best beams as generate says them, and of the same tokens one by one."""
    count, options = inputs["input_ids"].shape[1], {"max_new_tokens": 6, "min_new_tokens": 6}
    options |= {"do_sample": False, "return_dict_in_generate": True}
    with torch.no_grad(), foveate.reduce(model, reduction):
        beams = model.generate(**inputs, **options, num_beams=3, output_scores=True)
        found = beams.sequences[:, count:]
        steps = model.generate(
            **inputs, **options, output_logits=True,
            prefix_allowed_tokens_fn=lambda sample, ids: [int(found[sample, len(ids) - count])],
        )  # fmt: skip
    assert torch.equal(steps.sequences, beams.sequences)
    logprobs = torch.stack(steps.logits, dim=1).log_softmax(-1)
    return beams.sequences_scores, logprobs.gather(2, found[..., None]).mean((1, 2))


def test_a_prompt_without_picture_after_one_with(one):
    model, inputs = one
    ids = torch.tensor([[1, 2, 3, 4]])
    stock = model.generate(ids, **GREEDY)
    with foveate.reduce(model, HALF) as run:
        model.generate(**inputs, **GREEDY)
        assert torch.equal(model.generate(ids, **GREEDY), stock)
    assert len(run.reports) == 1


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_and_agrees_with_its_own_twin(one, dtype):
    model, inputs = one
    model.to(dtype)
    inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    with torch.no_grad():
        stock = model(**inputs).logits
        with foveate.reduce(model, foveate.Reduction()):
            assert torch.equal(model(**inputs).logits, stock)
        with foveate.reduce(model, HALF) as run:
            assert model(**inputs).logits.dtype == dtype
            out = model.generate(
                **inputs, **GREEDY, output_logits=True, return_dict_in_generate=True
            )
        twin, expected = masked_generation(model, inputs, HALF, run.report)
    # linear attention remembers numbers of four bytes in every precision
    state = 4 * prefill_cost(model.config, run.report.visual_tokens_by_layer[0], 0).state_elements
    assert (run.report.kv_bytes - state) * 2 == in_full_precision(model, inputs) - state
    said = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    # a near tie may fall otherwise: up to there, and there, both have seen the same tokens
    same = next((n + 1 for n in range(len(said)) if said[n] != twin[n]), len(said))
    logits, expected = torch.cat(out.logits)[:same].float(), expected[:same].float()
    rounding = 2 * torch.finfo(dtype).eps * float(expected.abs().max())  # of the largest logit
    torch.testing.assert_close(logits, expected, rtol=0, atol=rounding)
    assert (stock[0, -1].float() - expected[0]).abs().max() > rounding, "the twin proves nothing"


def in_full_precision(model, inputs):
    """KV bytes of the same reduction in fp32."""
    model = copy.deepcopy(model).float()
    inputs = {k: v.float() if v.is_floating_point() else v for k, v in inputs.items()}
    with torch.no_grad(), foveate.reduce(model, HALF) as run:
        model(**inputs)
    return run.report.kv_bytes


NO_QUANTIZED_CACHE = ("gemma3", "gemma4", "qwen3_5", "qwen3_5_moe")  # stock: full attention alone
QUANTIZED = {"backend": "quanto", "nbits": 4, "q_group_size": 16, "residual_length": 64}


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in NO_QUANTIZED_CACHE])
def test_a_quantized_cache_holds_what_each_layer_computed(name):
    model, inputs = tiny(name)
    quantized = {"cache_implementation": "quantized", "cache_config": QUANTIZED}
    options = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False, "output_logits": True}
    runs = []
    for reduction in (foveate.Reduction(), HALF):
        with foveate.reduce(model, reduction):
            whole, cut = (
                model.generate(**inputs, **options, return_dict_in_generate=True, **more)
                for more in ({}, quantized)
            )
        lengths = [[n.get_seq_length() for n in cache_in(out).layers] for out in (cut, whole)]
        assert lengths[0] == lengths[1]
        # the prefill is computed before anything is quantized
        assert torch.equal(cut.logits[0], whole.logits[0])
        runs.append(float((cut.logits[1] - whole.logits[1]).abs().max()))
    assert runs[1] < 3 * runs[0], "four bits cost more behind a reduction than without"


def test_memory_is_flat_over_two_hundred_generations():
    model, inputs = tiny("llava_onevision")
    counts = []
    for number in range(200):
        with foveate.reduce(model, HALF):
            model.generate(**inputs, max_new_tokens=2, do_sample=False)
        if number in (99, 199):
            gc.collect()
            counts.append(sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()))
    assert counts[0] == counts[1]


def test_what_cannot_be_generated_says_what_works(one):
    model, inputs = one
    with foveate.reduce(model, HALF), pytest.raises(UnsupportedError, match=r"StaticCache|Static"):
        model.generate(**inputs, **GREEDY, cache_implementation="static")
    # transformers itself refuses it where a layer does not attend
    refused = pytest.raises((UnsupportedError, ValueError), match=r"beam search|stateful models")
    with foveate.reduce(model, HALF), refused:
        model.generate(**inputs, **GREEDY, prompt_lookup_num_tokens=3)


def test_training_through_a_reduction_has_gradients():
    model, inputs = tiny("llava")
    model.train()
    with foveate.reduce(model, HALF):
        model(**inputs).logits[0, -1].sum().backward()
    assert model.model.multi_modal_projector.linear_1.weight.grad.abs().sum() > 0


def test_the_masking_twin_can_tell_a_wrong_answer():
    model, inputs = tiny("llava")
    with torch.no_grad(), foveate.reduce(model, HALF) as run:
        model.generate(**inputs, **GREEDY)
        report = run.report
    with torch.no_grad():
        _, right = masked_generation(model, inputs, HALF, report)
        gone = report.samples[0].pruned_after
        gone[:] = [None] * len(gone)
        _, wrong = masked_generation(model, inputs, HALF, report)
    assert not torch.allclose(right, wrong, atol=1e-3)


def test_a_compiled_model_is_refused():
    model, _ = tiny("llava")
    with pytest.raises(UnsupportedError, match="compiled model"):
        foveate.reduce(torch.compile(model), HALF).__enter__()
    model.compile()
    with pytest.raises(UnsupportedError, match="compiled model"):
        foveate.reduce(model, HALF).__enter__()
