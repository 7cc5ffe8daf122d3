"""LLaVA-1.5 in an engine that prunes inside the LLM: tokens of transformers, from fewer rows."""

import math
from contextlib import contextmanager

import pytest

pytest.importorskip("vllm", reason="needs vLLM: .ci/vllm")

import foveate
from foveate.errors import InputError
from foveate.serving.vllm.inside.limits import block_bytes
from serving.vllm import checkpoints, engine

FAMILY = "llava"
HALF_AIM = {"method": "aim", "keep": 0.5, "prune": [0, 2]}  # of three layers: all, half, none
ENGINE = {
    "hf_overrides": {"foveate": {**HALF_AIM, "experimental": True}},
    "enable_prefix_caching": False, "enable_chunked_prefill": False,
    "max_model_len": 192, "max_num_batched_tokens": 192,
}  # fmt: skip
INSIDE = {"method": "aim-prune", "prune": [0, 2]}
HALF_MERGE = {"method": "aim-merge", "keep": 0.5}
LOOK = "what is in <image>? "
REQUESTS = [
    {"prompt": LOOK, "image": [checkpoints.picture(1)]},
    {"prompt": "see " + LOOK + "how many are there, and where? ", "image": [checkpoints.picture(2)]},
    {"prompt": "what is in the picture? how many?"},
    {"prompt": LOOK * 2, "image": [checkpoints.picture(1), checkpoints.picture(3)]},
    {"prompt": LOOK, "image": [checkpoints.picture(4)]},
]  # fmt: skip
METHODS = [
    {"method": "aim-prune", "prune": [0, 3]},
    {"method": "aim-prune", "prune": [1, 3], "damping": 0.1},
    {"method": "fastv", "after": [1], "keep": 0.3},
    {"method": "fastv", "after": [2], "keep": 0.5, "voters": "last"},
    {"method": "pyramiddrop", "after": [1, 2], "keep": 0.5},
    {"method": "sparsevlm", "after": [1, 2], "keep": 0.5},
    {"method": "dart", "after": [1], "keep": 0.3},
    {"method": "priortr", "after": [1], "keep": 0.3},
    {"method": "vtw", "after": 1},
]


@pytest.fixture
def rows(llm):
    """Rows of each layer, forward by forward."""
    seen, layers = [], engine.model_of(llm).get_language_model().model.layers
    hooks = [
        layer.self_attn.qkv_proj.register_forward_pre_hook(
            lambda module, args: seen.append(len(args[0]))
        )
        for layer in layers
    ]
    yield lambda: [tuple(seen[n : n + len(layers)]) for n in range(0, len(seen), len(layers))]
    for hook in hooks:
        hook.remove()


@contextmanager
def pruning(llm, method):
    """Another method inside the LLM of the same engine."""
    pruned = engine.model_of(llm).pruned
    before = pruned.pruner, pruned.schedule
    pruned.pruner = foveate.Reduction.from_dict(method).inside
    pruned.schedule = pruned.pruner.schedule(3)
    yield
    pruned.pruner, pruned.schedule = before


def expected(reference, requests, method):
    return [reference.ask({**request, "foveate": method}) for request in requests]


def test_one_request_computes_fewer_rows_and_says_the_same(llm, reference, rows):
    meant = expected(reference, REQUESTS[:1], HALF_AIM)
    assert engine.same(engine.ask(llm, REQUESTS[0]), meant)
    text = meant[0].prompt - 32
    # a prompt, and one token after the other
    assert rows() == [(text + 32, text + 16, text)] + [(1, 1, 1)] * (engine.TOKENS - 1)
    merged = {"method": "aim-merge", "keep": 0.5}
    assert expected(reference, REQUESTS[:1], merged)[0].tokens != meant[0].tokens


def test_it_is_known_beforehand_how_many_blocks_the_cache_has(llm):
    config = llm.llm_engine.vllm_config
    size = config.cache_config.kv_cache_memory_bytes // block_bytes(config)
    assert config.cache_config.num_gpu_blocks == size


def test_two_answers_to_one_prompt(llm, reference):
    from vllm import SamplingParams

    (meant,) = expected(reference, REQUESTS[:1], HALF_AIM)
    request = {"prompt": LOOK, "multi_modal_data": {"image": REQUESTS[0]["image"]}}
    twice = SamplingParams(n=2, temperature=1e-6, max_tokens=engine.TOKENS, ignore_eos=True)
    (said,) = llm.generate(request, twice, use_tqdm=False)
    assert [tuple(each.token_ids) for each in said.outputs] == [meant.tokens] * 2


def test_requests_of_one_batch_do_not_mix(llm, reference, rows):
    meant = expected(reference, REQUESTS, HALF_AIM)
    assert len({said.tokens for said in meant}) == len(meant)
    assert engine.same(engine.ask(llm, *REQUESTS), meant)
    # not all fit into a step: four are answered while the last prompt is read
    last = meant[-1].prompt
    assert rows()[1] == (last + 4, last - 16 + 4, last - 32 + 4)
    assert engine.same(engine.ask(llm, *REQUESTS[::-1]), meant[::-1])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["method"])
def test_every_method_is_as_in_transformers(llm, reference, method):
    meant = expected(reference, REQUESTS, {"before": HALF_MERGE, "inside": method})
    unpruned = expected(reference, REQUESTS, HALF_MERGE)
    assert sum(one.tokens != other.tokens for one, other in zip(meant, unpruned, strict=True)) == 4
    with pruning(llm, method):
        assert engine.same(engine.ask(llm, *REQUESTS), meant)


def test_a_request_may_ask_for_another_method_before_the_llm(llm, reference, rows):
    few = {"method": "divprune", "keep": 0.25}
    meant = expected(reference, REQUESTS[1:2], {"before": few, "inside": INSIDE})
    assert engine.same(engine.ask(llm, {**REQUESTS[1], "foveate": few}), meant)
    text = meant[0].prompt - 16
    assert rows()[0] == (text + 16, text + 8, text)


REFUSED = [
    (None, "prunes inside the LLM, for every request: .* but not None"),
    ({"method": "divprune", "keep": 1.0}, "prunes inside the LLM, for every request"),
    ({"method": "fastv", "keep": 0.5}, "an experiment for all requests of an engine"),
    (HALF_AIM, "an experiment for all requests of an engine"),
    ({**HALF_AIM, "experimental": True}, "of a whole engine"),
]


@pytest.mark.parametrize(("given", "text"), REFUSED)
def test_what_a_request_cannot_ask_is_refused_and_the_engine_lives_on(llm, given, text):
    with pytest.raises(InputError, match=text):
        engine.ask(llm, {**REQUESTS[0], "foveate": given})
    assert engine.ask(llm, REQUESTS[0])


def test_a_prompt_must_not_end_with_a_picture(llm):
    with pytest.raises(InputError, match="ends with a picture: write text behind"):
        engine.ask(llm, {"prompt": "what is in <image>", "image": [checkpoints.picture(5)]})


def test_likelihoods_of_dropped_tokens_are_no_numbers(llm):
    from vllm import SamplingParams

    request = {"prompt": LOOK, "multi_modal_data": {"image": [checkpoints.picture(1)]}}
    told = SamplingParams(max_tokens=1, prompt_logprobs=0)
    (said,) = llm.generate(request, told, use_tqdm=False)
    # of what follows each token; by the last layer all visual ones are dropped
    given = [next(iter(each.values())).logprob for each in said.prompt_logprobs[1:]]
    assert sum(math.isnan(each) for each in given) == 32


def test_a_request_may_take_a_method_in_the_encoder(llm, reference):
    asked = {"encode": {"method": "tome-encoder", "keep": 0.5}, "before": HALF_MERGE}
    said = engine.ask(llm, {**REQUESTS[0], "foveate": asked})
    meant = {**REQUESTS[0], "foveate": {**asked, "inside": INSIDE}}
    assert engine.same(said, [reference.ask(meant)])
