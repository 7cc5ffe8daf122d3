"""Checks of a reduction: dropped tokens are gone, and the model is unchanged afterwards."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from foveate.models.family import family_of
from foveate.reduction import Reduction
from foveate.testing.models import GREEDY, Given, beside, not_ending, reduce

InputsOf = Callable[[Any, Sequence[Sequence[tuple[str, int]]], Any], dict[str, Tensor]]

# --- off ------------------------------------------------------------------------------------------


def check_off_is_bit_identical(model: Any, inputs: dict[str, Tensor]) -> None:
    """Check that keeping all tokens changes no bit of the logits."""
    with torch.no_grad():
        stock = model(**inputs).logits
        with reduce(model, Reduction()) as run:
            off = model(**inputs).logits
    assert torch.equal(stock, off), "off is not bit-identical"
    assert not run.report.fired
    assert run.report.prefill_flops == run.report.prefill_flops_unreduced
    assert run.report.kv_bytes == run.report.kv_bytes_unreduced


# --- no trace -------------------------------------------------------------------------------------


def fingerprint(model: nn.Module) -> list[tuple[Any, ...]]:
    """Types, attributes, hooks and configs of every module."""
    return [
        (
            name,
            type(module).__name__,
            sorted(vars(module)),
            [len(hooks) for key, hooks in vars(module).items() if key.endswith("_hooks")],
            str(getattr(module, "config", "")),
            getattr(getattr(module, "config", None), "_attn_implementation", None),
        )
        for name, module in model.named_modules()
    ]


def check_no_trace(model: Any, inputs: dict[str, Tensor], reduction: Given) -> None:
    """Check that the model is the same before and after, also after an exception."""
    with torch.no_grad():
        model(**inputs)  # transformers installs hooks of its own on the first call
    before = fingerprint(model)
    with torch.no_grad(), reduce(model, reduction):
        model(**inputs)
        assert fingerprint(model) != before, "the fingerprint does not see a reduction at work"
    assert fingerprint(model) == before, "a trace is left"
    try:
        with reduce(model, reduction):
            raise KeyError("inside")
    except KeyError:
        assert fingerprint(model) == before, "a trace is left by an exception"
    else:
        raise AssertionError("an exception inside was swallowed")


# --- gone means gone ------------------------------------------------------------------------------


def check_tokens_are_gone(model: Any, inputs: dict[str, Tensor], reduction: Given) -> None:
    """Check that dropped tokens are out of hidden states and cache, and the report's count of bytes."""
    from foveate.runtime.seams import cache_in

    family = family_of(model)
    widths: list[int] = []
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, args, kwargs: widths.append((args or (kwargs["hidden_states"],))[0].shape[1]),
            with_kwargs=True,
        )
        for layer in family.language_model(model.model).layers
    ]
    with torch.no_grad(), reduce(model, reduction) as run:
        cache = cache_in(model(**inputs, use_cache=True))
    for hook in hooks:
        hook.remove()
    report = run.report
    expected = [n + report.text_tokens[0] for n in report.visual_tokens_by_layer[0]]
    assert widths == expected, f"layers computed {widths} rows, the report says {expected}"
    with_length = [n for n, layer in enumerate(cache.layers) if hasattr(layer, "get_seq_length")]
    lengths = [cache.layers[n].get_seq_length() for n in with_length]
    expected = [expected[n] for n in with_length]
    assert lengths == expected, f"the cache holds {lengths} rows, the report says {expected}"
    assert (held := _bytes(cache)) == report.kv_bytes, f"{held} bytes, not {report.kv_bytes}"


def _bytes(cache: Any) -> int:
    """Of keys and values, and of what layers without attention remember."""
    total = 0
    for layer in cache.layers:
        parts = [getattr(layer, "keys", None), getattr(layer, "values", None)]
        for name in ("conv_states", "recurrent_states"):
            parts += getattr(layer, name, {}).values()
        total += sum(part.nbytes for part in parts if part is not None)
    return total


# --- batches --------------------------------------------------------------------------------------


def check_batch_is_samples_alone(
    model: Any,
    samples: Sequence[Sequence[tuple[str, int]]],
    reduction: Given,
    padding: Literal["left", "right"] = "left",
    inputs_of: InputsOf | None = None,
) -> None:
    """Check that each sample of a ragged batch has the logits and the greedy text that it has alone.

    Args:
        model: a tiny model.
        samples: for each sample its pictures, each (modality, size).
        reduction: what to do with their tokens.
        padding: left uses `generate`; right, which that does not support, uses single steps.
        inputs_of: makes a batch of (config, samples, padding); by default as the family does for its
            tiny model.
    """
    draw = inputs_of or family_of(model).tiny_inputs
    batch = beside(model, draw(model.config, samples, padding))
    lone = [beside(model, draw(model.config, [sample], "left")) for sample in samples]
    rows, all_steps = batch["input_ids"].shape[1], GREEDY["max_new_tokens"]
    for steps in _in_wide_windows(model, rows, all_steps) if padding == "right" else (all_steps,):
        together, texts = _answers(model, batch, reduction, padding, steps)
        for number, inputs in enumerate(lone):
            alone, (text,) = _answers(model, inputs, reduction, "left", steps)
            torch.testing.assert_close(together[number], alone[0], rtol=0, atol=1e-4)
            assert texts[number] == text, f"sample {number} says {texts[number]}, alone {text}"


def _in_wide_windows(model: Any, rows: int, steps: int) -> Iterator[int]:
    """How many tokens of right-padded samples to compare; all, as soon as windows are wide enough.

    A cache of stock transformers holds padding behind a short sample as rows of its sliding window,
    reduced or not: there only the first token is that of the sample alone.
    """
    config = family_of(model).language_model(model.model).config
    window = getattr(config, "sliding_window", None)
    if window is not None and window < rows + steps:
        yield 1
        config.sliding_window = rows + steps
    try:
        yield steps
    finally:
        if window is not None:
            config.sliding_window = window


@torch.no_grad()
def _answers(
    model: Any, inputs: dict[str, Tensor], reduction: Given, padding: str, steps: int
) -> tuple[Tensor, list[list[int]]]:
    """Logits (B, V) after each sample's last token, and so many greedy tokens."""
    from foveate.runtime.seams import cache_in, on_cache

    mask = inputs["attention_mask"]
    with reduce(model, reduction) as run:
        if padding == "left":
            out = model.generate(
                **inputs, **GREEDY, output_logits=True, return_dict_in_generate=True
            )
            return out.logits[0], out.sequences[:, mask.shape[1] :][:, :steps].tolist()
        out = model(**inputs, use_cache=True)
        ends = mask.sum(1) - 1
        if run.reports:
            reported = run.report.kv_bytes
            assert (held := _bytes(cache_in(out))) == reported, f"{held} bytes, not {reported}"
            ends = [s.visual_tokens_by_layer[-1] + s.text_tokens - 1 for s in run.report.samples]
        first = logits = out.logits[torch.arange(len(ends)), ends]
        places, tokens = mask.sum(1, keepdim=True), []
        if family_of(model).grid_positions:
            places = (places + model.model.rope_deltas).expand(3, -1, -1)
        for step in range(steps):
            tokens.append(not_ending(model, logits).argmax(-1))
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            logits = model(
                input_ids=tokens[-1][:, None],
                attention_mask=mask,
                position_ids=places + step,
                **on_cache(model, cache_in(out)),
            ).logits[:, -1]
    return first, torch.stack(tokens, dim=1).tolist()
