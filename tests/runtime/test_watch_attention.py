"""Watching attention: the original runs as itself; a refusal leaves nothing half-done."""

import threading

import pytest
import torch
import torch.nn.functional as F
from transformers import AttentionInterface, modeling_flash_attention_utils
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import foveate
from foveate.combine.aim import AIM
from foveate.encode.reuse import Reuse
from foveate.encode.tome import ToMeEncoder
from foveate.errors import UnsupportedError
from foveate.models.family import family_of
from foveate.runtime.vision import EncoderWatch
from foveate.testing import GREEDY, fingerprint, tiny

PRUNED = AIM(1.0, (1, 4))
BOTH = AIM(0.5, (1, 4))
FLASH = ("llava", "qwen2_vl", "mistral3")  # stock flash attention knows no blocks, as Gemma 3 has


@pytest.fixture
def flash(monkeypatch):
    """Flash attention's Python side as it is, with SDPA in the place of its kernels."""

    def flash_fn(q, k, v, causal=False, softmax_scale=None, dropout_p=0.0):
        rows, keys = q.shape[1], k.shape[1]
        earlier = torch.ones(rows, keys, dtype=torch.bool).tril(keys - rows)
        out = F.scaled_dot_product_attention(
            *(part.transpose(1, 2) for part in (q, k, v)),
            attn_mask=earlier if causal else None, scale=softmax_scale, enable_gqa=True,
        )  # fmt: skip
        return out.transpose(1, 2)

    def varlen_fn(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k,
        causal=False, softmax_scale=None, dropout_p=0.0,
    ):  # fmt: skip
        parts = zip(
            q.split(cu_seqlens_q.diff().tolist()),
            k.split(cu_seqlens_k.diff().tolist()),
            v.split(cu_seqlens_k.diff().tolist()),
            strict=True,
        )
        return torch.cat(
            [flash_fn(a[None], b[None], c[None], causal, softmax_scale)[0] for a, b, c in parts]
        )

    def imports(implementation, *_, **__):
        if implementation != "flash_attention_2":
            raise ValueError(f"no such package or kernel: {implementation}")
        own = modeling_flash_attention_utils
        return flash_fn, varlen_fn, None, own._pad_input, own._unpad_input

    monkeypatch.setattr(modeling_flash_attention_utils, "_lazy_imports", imports)
    monkeypatch.setattr(modeling_flash_attention_utils, "_loaded_implementation", None)


def answers(model, inputs, reduction):
    with torch.no_grad(), foveate.reduce(model, reduction):
        out = model.generate(**inputs, **GREEDY, output_logits=True, return_dict_in_generate=True)
    return torch.cat(out.logits)


@pytest.mark.sampled
@pytest.mark.parametrize("reduction", [PRUNED, BOTH], ids=["pruned", "both"])
@pytest.mark.parametrize("name", FLASH)
def test_flash_attention_runs_under_its_own_name(name, reduction, flash):
    model, _ = tiny(name)
    inputs = family_of(model).tiny_inputs(model.config, [[("image", 0)], [("image", 1)] * 2])
    expected = answers(model, inputs, reduction)
    family_of(model).language_model(model.model).config._attn_implementation = "flash_attention_2"
    before = fingerprint(model)
    torch.testing.assert_close(answers(model, inputs, reduction), expected, rtol=0, atol=1e-4)
    assert fingerprint(model) == before


def test_pruned_positions_are_not_taken_for_packed_sequences(flash, monkeypatch):
    model, inputs = tiny("llava")
    expected = answers(model, inputs, PRUNED)
    model.model.language_model.config._attn_implementation = "flash_attention_2"

    def packed(*_):
        raise AssertionError("one sequence was taken for several")

    monkeypatch.setattr(modeling_flash_attention_utils, "_prepare_from_posids", packed)
    torch.testing.assert_close(answers(model, inputs, PRUNED), expected, rtol=0, atol=1e-4)


def test_a_thread_that_leaves_first_does_not_disturb_another_under_flash(flash):
    model, inputs = tiny("llava")
    model.model.language_model.config._attn_implementation = "flash_attention_2"
    alone = answers(model, inputs, PRUNED)
    entered, left, found = threading.Event(), threading.Event(), []

    def stays():
        with torch.no_grad(), foveate.reduce(model, PRUNED):
            entered.set()
            left.wait(60)
            found.append(model(**inputs).logits[:, -1])

    thread = threading.Thread(target=stays)
    with foveate.reduce(model, PRUNED):
        thread.start()
        assert entered.wait(60)
    left.set()
    thread.join()
    torch.testing.assert_close(found[0], alone[:1], rtol=0, atol=1e-5)


def test_a_refused_attention_can_be_put_right():
    model, inputs = tiny("llava")
    config = model.model.language_model.config
    expected = answers(model, inputs, PRUNED)
    config._attn_implementation = "unknown"
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="attention 'unknown'"):
            foveate.reduce(model, PRUNED).__enter__()
    assert config._attn_implementation == "unknown"
    config._attn_implementation = "sdpa"
    assert torch.equal(answers(model, inputs, PRUNED), expected)
    assert config._attn_implementation == "sdpa"


@pytest.fixture
def maskless():
    """An attention that transformers hands no mask."""
    AttentionInterface.register("maskless", sdpa_attention_forward)
    yield "maskless"
    AttentionInterface._global_mapping.pop("maskless")
    AttentionInterface._global_mapping.pop("foveate_maskless", None)


def test_attention_without_a_mask_function_reduces_what_needs_no_mask(maskless):
    model, inputs = tiny("llava")
    expected = {reduction: answers(model, inputs, reduction) for reduction in (PRUNED, BOTH)}
    model.model.language_model.config._attn_implementation = maskless
    for reduction in (PRUNED, BOTH):
        assert torch.equal(answers(model, inputs, reduction), expected[reduction])
    ragged = family_of(model).tiny_inputs(model.config, [[("image", 0)], [("image", 1)] * 2])
    ragged["attention_mask"][:] = 1  # of one length, until a share of each is gone
    for reduction in (AIM(0.5, None), PRUNED):
        with (
            pytest.raises(UnsupportedError, match="'maskless' is handed no mask"),
            foveate.reduce(model, reduction),
        ):
            model(**ragged)


def test_flash_attention_cannot_weigh_by_size(flash):
    model, inputs = tiny("llava")
    with torch.no_grad():
        model(**inputs)  # after which transformers has installed hooks of its own
    model.config.vision_config._attn_implementation = "flash_attention_2"
    before = fingerprint(model)
    with (
        pytest.raises(UnsupportedError, match="cannot weigh merged patches by their size"),
        torch.no_grad(),
        foveate.reduce(model, foveate.Reduction(encode=ToMeEncoder(0.6))),
    ):
        model(**inputs)
    assert fingerprint(model) == before


def test_flash_attention_cannot_attend_to_what_is_reused(flash):
    model, inputs = tiny("llava_onevision", "video")
    inputs["pixel_values_videos"][:, 1:] = inputs["pixel_values_videos"][:, :1]
    model.config.vision_config._attn_implementation = "flash_attention_2"
    with (
        pytest.raises(UnsupportedError, match="cannot attend to patches that are reused"),
        torch.no_grad(),
        foveate.reduce(model, foveate.Reduction(encode=Reuse())),
    ):
        model(**inputs)


def test_each_config_of_the_encoder_is_looked_at_once():
    model, _ = tiny("llava_onevision")
    method = foveate.Reduction(encode=ToMeEncoder(0.6))
    watch = EncoderWatch(family_of(model), model.model, method)
    assert len(list(watch.watchers)) == 2
    assert watch.watched_configs == [model.config.vision_config]
