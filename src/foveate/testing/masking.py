"""Dropping equals masking: a reduced run against its slow twin, which drops and caches nothing."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from foveate.defaults import IGNORED
from foveate.models.family import family_of
from foveate.reduction import Compressor, Reduction, as_reduction
from foveate.report import Report
from foveate.testing.models import GREEDY, Given, not_ending, reduce
from foveate.tokens import VisionTokens


@torch.no_grad()
def check_dropping_is_masking(model: Any, inputs: dict[str, Tensor], reduction: Given) -> None:
    """Check logits and text against the whole sequence recomputed, with dropped tokens only masked."""
    with reduce(model, reduction) as run:
        out = model.generate(**inputs, **GREEDY, output_logits=True, return_dict_in_generate=True)
    dropped = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    masked, logits = masked_generation(model, inputs, as_reduction(reduction), run.report)
    torch.testing.assert_close(torch.cat(out.logits), logits, rtol=0, atol=1e-4)
    assert dropped == masked, f"dropped {dropped}, masked {masked}"


def check_loss_is_that_of_what_is_left(
    model: Any, inputs: dict[str, Tensor], reduction: Given
) -> None:
    """Check loss and gradients against the same twin, with the prompt's own text as labels."""
    is_text = ~torch.isin(inputs["input_ids"], _placeholders(model))
    labels = inputs["input_ids"].where(is_text, IGNORED)
    with reduce(model, reduction) as run:
        loss = model(**inputs, labels=labels, use_cache=False).loss
    expected = masked_loss(model, inputs, labels, as_reduction(reduction), run.report)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-5)
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    every = [torch.autograd.grad(of, learned, allow_unused=True) for of in (loss, expected)]
    for ours, theirs in zip(*every, strict=True):
        if ours is not None or theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def masked_generation(
    model: Any, inputs: dict[str, Tensor], reduction: Reduction, report: Report
) -> tuple[list[int], Tensor]:
    """The slow twin of a reduction, for one sample: nothing is dropped and nothing is cached.

    Visual tokens are merged group by group in a plain loop; where the report says that one was pruned,
    later layers only mask it.

    Returns:
        Greedy tokens and their logits (steps, V).
    """
    prompt = merged_prompt(model, inputs, reduction, report)
    tokens: list[int] = []
    logits: list[Tensor] = []
    for _ in range(GREEDY["max_new_tokens"]):
        logits.append(by_head(model, masked_states(model, prompt)[-1:])[0])
        tokens.append(int(not_ending(model, logits[-1]).argmax()))
        append(model, prompt, tokens[-1])
    return tokens, torch.stack(logits)


def masked_loss(
    model: Any, inputs: dict[str, Tensor], labels: Tensor, reduction: Reduction, report: Report
) -> Tensor:
    """The loss of one sample's labels (1, N) by the same twin: that of the rows which it never masks."""
    prompt = merged_prompt(model, inputs, reduction, report)
    left = prompt["removed_after"] >= len(family_of(model).language_model(model.model).layers)
    of_rows = labels.new_full((len(left),), IGNORED)
    is_text = ~torch.isin(inputs["input_ids"][0], _placeholders(model))
    of_rows[~prompt["visual"]] = labels[0, is_text]
    logits = by_head(model, masked_states(model, prompt)[left])
    return F.cross_entropy(logits[:-1], of_rows[left][1:], ignore_index=IGNORED)


def merged_prompt(
    model: Any, inputs: dict[str, Tensor], reduction: Reduction, report: Report
) -> dict[str, Any]:
    """What the LLM would be given if the merged tokens had been the prompt."""
    family = family_of(model)
    seen: dict[str, Any] = {}
    with reduce(model, Reduction(encode=reduction.encode)):  # whose own twin is another
        hook = family.language_model(model.model).register_forward_pre_hook(
            lambda _, args, kwargs: seen.update(kwargs), with_kwargs=True, prepend=True
        )
        groups = _groups(model, inputs)
        hook.remove()
    before = reduction.before
    handed = [] if before is None or before.is_off else _handed(model, inputs, before, reduction)
    embeds = seen["inputs_embeds"][0]
    deepstack = [part.clone() for part in family.deepstack(dict(seen))]
    count = len(embeds)
    rows = torch.isin(inputs["input_ids"][0], _placeholders(model)).nonzero()[:, 0]
    stays = [True] * count
    if before is not None and not before.is_off:
        if "frames" in before.needs and "pixel_values_videos" in inputs:
            sizes = torch.bincount(groups)  # equal for frames, not separators
            groups = torch.where(sizes[groups] == sizes[groups[0]], groups[0], groups)
        if "sample" in before.needs:
            groups = torch.zeros_like(groups)
        _merge(before, [rows[groups == label] for label in groups.unique()], handed, embeds, stays)
    device = embeds.device
    block = family.blocks(inputs)
    block = torch.full((1, count), -1, device=device) if block is None else block
    positions = torch.arange(sum(stays), device=device).view(1, 1, -1)
    if family.grid_positions:
        positions = seen["position_ids"][-3:][..., stays]
    # merged tokens get the mean of their patches' DeepStack features
    into = [-1 if token is None else token for token in report.merged_into[0]]
    into = torch.tensor(into, device=device)
    deepstack = [
        torch.stack([part[into == token].mean(0) for token in range(int(into.max()) + 1)])
        for part in deepstack
    ]
    visual = torch.isin(inputs["input_ids"][0], _placeholders(model))[stays]
    removed_after = torch.full_like(block[0, stays], len(family.language_model(model.model).layers))
    removed_after[visual] = removed_after.new_tensor(
        [len(removed_after) if layer is None else layer for layer in report.pruned_after[0]]
    )
    usual = ("inputs_embeds", "attention_mask", "position_ids", "visual_pos_masks")
    others = {
        name: value[:, stays]
        for name, value in seen.items()
        if name not in usual and isinstance(value, Tensor) and value.shape[:2] == (1, count)
    }
    return {
        "embeds": embeds[stays][None], "positions": positions, "block": block[0, stays],
        "removed_after": removed_after, "visual": visual, "deepstack": deepstack, "others": others,
    }  # fmt: skip


def _merge(
    before: Compressor,
    units: list[Tensor],
    handed: list[tuple[Tensor, dict[str, Any]]],
    embeds: Tensor,
    stays: list[bool],
) -> None:
    """Put merged tokens in their places among the embeddings (N, D), one group of rows after another."""
    for members in units:
        (needed,) = [more for given, more in handed if torch.equal(given, embeds[members])]
        merged = before(embeds[None, members], **needed)
        places = members[merged.position[0].sort().values]
        for row in members.tolist():
            stays[row] = row in places.tolist()
        embeds[places] = merged.features[0]


@dataclass
class _Spy:
    """A method before the LLM that records its arguments; its class has what `Compressor` asks for."""

    method: Compressor
    handed: list[tuple[Tensor, dict[str, Any]]] = field(default_factory=list)
    needs = property(lambda self: self.method.needs)
    at = property(lambda self: self.method.at)
    is_off = property(lambda self: self.method.is_off)
    flops = property(lambda self: self.method.flops)

    def __call__(self, features: Tensor, **needed: Any) -> VisionTokens:
        for number, group in enumerate(features):
            own = {
                name: value[number : number + 1] if isinstance(value, Tensor) else value
                for name, value in needed.items()
            }
            self.handed.append((group, own))
        return self.method(features, **needed)


def _handed(
    model: Any, inputs: dict[str, Tensor], before: Compressor, reduction: Reduction
) -> list[tuple[Tensor, dict[str, Any]]]:
    """For every group its features, and the method's other arguments."""
    spy: Any = _Spy(before)
    with reduce(model, Reduction(before=spy, encode=reduction.encode)):
        model(**inputs)
    return spy.handed


def _groups(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The group of every visual token of a prompt with one picture."""
    from foveate.runtime.watch_encoding import watch_encoding

    family, core = family_of(model), model.model
    found: dict[str, Any] = {}

    def noted(modality: str, encode: Callable[[], Any], arguments: Mapping[str, Any]) -> Any:
        output = encode()
        found["groups"] = family.groups(core, modality, arguments, output.pooler_output)
        return output

    with watch_encoding(core, noted):
        model(**inputs)
    sizes = [int(labels.max()) + 1 for labels in found["groups"]]
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return torch.cat([g + start for g, start in zip(found["groups"], starts, strict=True)])


def _placeholders(model: Any) -> Tensor:
    tokens = list(family_of(model).placeholders(model.config).values())
    return torch.tensor(tokens, device=model.device)


def append(model: Any, prompt: dict[str, Any], token: int) -> None:
    """Put one text token at the end of a prompt."""
    llm = family_of(model).language_model(model.model)
    ids = torch.tensor([[token]], device=prompt["embeds"].device)
    new = llm.embed_tokens(ids)
    prompt["embeds"] = torch.cat([prompt["embeds"], new], dim=1)
    prompt["positions"] = torch.cat(
        [prompt["positions"], prompt["positions"][..., -1:] + 1], dim=-1
    )
    for name, value in prompt["others"].items():  # floats are embeddings of the layers' own
        more = _per_layer_inputs(llm, ids, new) if value.is_floating_point() else 0 * ids
        prompt["others"][name] = torch.cat([value, more], dim=1)
    for name, value in (("block", -1), ("removed_after", 10**6), ("visual", 0)):
        last = prompt[name].new_tensor([value])
        prompt[name] = torch.cat([prompt[name], last])


def _per_layer_inputs(llm: Any, ids: Tensor, embeds: Tensor) -> Tensor:
    """Embeddings of the layers' own; transformers 5.17 asks for the tokens' embeddings beside the ids."""
    given = {"input_ids": ids, "inputs_embeds": embeds}
    taken = inspect.signature(llm.get_per_layer_inputs).parameters
    return llm.get_per_layer_inputs(**{n: value for n, value in given.items() if n in taken})


def _mask_of(model: Any, prompt: dict[str, Any], layer: int, kind: str) -> Tensor:
    """What one layer that attends is to see: (1, 1, N, N), 0 or the least number."""
    config, family = model.config, family_of(model)
    count, dtype = prompt["embeds"].shape[1], prompt["embeds"].dtype
    place, block = prompt["positions"][-1, 0], prompt["block"]
    sees = torch.ones(count, count, dtype=torch.bool, device=place.device).tril()
    if family.both_ways_in(config, kind):
        sees |= (block[:, None] == block) & (block >= 0)
    sees &= prompt["removed_after"] >= layer
    for where, rows, first in prompt.get("hidden", ()):  # from later rows on, in this layer
        if where == layer:
            sees[first:, rows] = False
    if kind == "sliding_attention":
        window = family.language_model(model.model).config.sliding_window
        sees &= place[:, None] - place < window
    mask = torch.zeros_like(sees, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)
    return mask[None, None]


def _hooks(model: Any, prompt: dict[str, Any]) -> Iterator[RemovableHandle]:
    """Every layer is given a mask; one that does not attend, the sequence without what was dropped."""
    llm = family_of(model).language_model(model.model)
    kinds = getattr(llm.config, "layer_types", None) or ["full_attention"] * len(llm.layers)
    for number, (layer, kind) in enumerate(zip(llm.layers, kinds, strict=True)):
        if hasattr(layer, "self_attn"):
            more = {"attention_mask": _mask_of(model, prompt, number, kind)}
            yield layer.register_forward_pre_hook(
                lambda _, args, kwargs, more=more: (args, {**kwargs, **more}), with_kwargs=True
            )
            continue
        stays = prompt["removed_after"] >= number
        yield layer.register_forward_pre_hook(
            lambda _, args, kwargs, stays=stays: (
                (args[0][:, stays], *args[1:]), {**kwargs, "attention_mask": None}
            ),
            with_kwargs=True,
        )  # fmt: skip
        yield layer.register_forward_hook(
            lambda _, args, output, stays=stays: output.new_zeros(
                1, len(stays), output.shape[-1]
            ).index_copy(1, stays.nonzero()[:, 0], output)
        )


def masked_states(model: Any, prompt: dict[str, Any]) -> Tensor:
    """States (N, D) of a prompt behind the last layer, nothing dropped and nothing cached."""
    llm = family_of(model).language_model(model.model)
    hooks = list(_hooks(model, prompt))
    positions = prompt["positions"]
    extra: dict[str, Any] = dict(prompt["others"])
    if prompt["deepstack"]:
        extra |= {
            "deepstack_visual_embeds": prompt["deepstack"],
            "visual_pos_masks": prompt["visual"].bool()[None],
        }
    try:
        states = llm(
            inputs_embeds=prompt["embeds"],
            position_ids=positions[0] if len(positions) == 1 else positions,
            use_cache=False,
            **extra,
        ).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    return states[0]


def by_head(model: Any, states: Tensor) -> Tensor:
    """Logits (N, V) that a model makes of last hidden states (N, D), with whatever it does to them."""

    def handed(_: Any, args: Any, output: Any) -> None:
        output.last_hidden_state = states[None]

    hook = model.model.register_forward_hook(handed)
    try:
        return model(input_ids=states.new_ones(1, 1, dtype=torch.long), use_cache=False).logits[0]
    finally:
        hook.remove()
