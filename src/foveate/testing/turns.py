"""Conversations against a slow twin: each turn as the whole history recomputed, masked and uncached."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from foveate.models.family import family_of
from foveate.reduction import Reduction, as_reduction
from foveate.testing.masking import append, by_head, masked_states, merged_prompt
from foveate.testing.models import Given, reduce


@torch.no_grad()
def check_turns_are_masking(
    model: Any, inputs: dict[str, Tensor], reductions: Sequence[Given]
) -> None:
    """Check a conversation whose every turn brings the same pictures, each under a reduction of its own.

    After each turn the logits of some greedy tokens are compared with the twin's over the whole history.
    """
    family = family_of(model)
    cache: Any = None
    rope, first = _rope(model, inputs) if family.grid_positions else None, 0
    twin: dict[str, Any] | None = None
    for reduction in reductions:
        places = None if rope is None else rope + first
        with reduce(model, reduction) as run:
            said, cache = _turn(model, inputs, cache, places)
        own = merged_prompt(model, inputs, as_reduction(reduction), run.report)
        twin = own if twin is None else joined(twin, own)
        for logits in said:
            expected = by_head(model, masked_states(model, twin)[-1:])[0]
            torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
            append(model, twin, int(logits.argmax()))
        first = int(twin["positions"].max()) + 1


def _turn(
    model: Any, inputs: dict[str, Tensor], cache: Any, places: Tensor | None
) -> tuple[list[Tensor], Any]:
    """The logits (V,) of some greedy tokens of a prompt behind what a cache holds, and that cache.

    Args:
        model: inside a reduce().
        inputs: the prompt.
        cache: see above; None for an empty one.
        places: positions on the grid (3, 1, N) behind those of the cache; None where there is no grid.
    """
    from foveate.runtime.seams import cache_in, on_cache

    given, said = inputs, []
    for _ in range(4):
        past = 0 if cache is None else cache.get_seq_length()
        seen = {
            "attention_mask": inputs["input_ids"].new_ones(1, past + given["input_ids"].shape[1])
        }
        on_grid = {} if places is None else {"position_ids": places}
        more = {} if cache is None else on_cache(model, cache)
        output = model(**given | seen | on_grid, **more, use_cache=True)
        cache = cache_in(output)
        said.append(output.logits[0, -1])
        given = {"input_ids": said[-1].argmax().view(1, 1)}
        places = None if places is None else places.max() + torch.ones_like(places[..., -1:])
    return said[:-1], cache  # of the last of these the cache holds no row yet


def _rope(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Positions on the grid (3, 1, N) of a prompt that stands alone."""
    seen: dict[str, Any] = {}
    hook = (
        family_of(model)
        .language_model(model.model)
        .register_forward_pre_hook(lambda _, args, kwargs: seen.update(kwargs), with_kwargs=True)
    )
    with reduce(model, Reduction()):
        model(**inputs)
    hook.remove()
    return seen["position_ids"][-3:]


def joined(first: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """One twin's prompt behind another; what the first one hid stays hidden."""
    positions = then["positions"] + first["positions"].max() + 1
    return {
        "embeds": torch.cat([first["embeds"], then["embeds"]], dim=1),
        "positions": torch.cat([first["positions"], positions], dim=-1),
        "hidden": first.get("hidden", []),
        "deepstack": [
            torch.cat(parts) for parts in zip(first["deepstack"], then["deepstack"], strict=True)
        ],
        "others": {
            name: torch.cat([value, then["others"][name]], dim=1)
            for name, value in first["others"].items()
        },
        **{
            name: torch.cat([first[name], then[name]])
            for name in ("block", "removed_after", "visual")
        },
    }
