"""Groups are those of the encoder: what changes with the pixels of one tile or frame is one of them."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from foveate.models.family import family_of
from foveate.models.groups import patch_grids, patch_shapes, pixels_of
from foveate.runtime.watch_encoding import watch_encoding

Unit = tuple[int | slice, ...]  # where the pixels of a tile, a frame or a time step are


@torch.no_grad()
def check_groups(model: Any, inputs: dict[str, Tensor]) -> None:
    """Disturb the pixels of each tile, frame or time step: the features of one whole group change.

    No other feature does; and each group has pixels, but for one of separators an image or clip.

    Args:
        model: of any family.
        inputs: of several pictures of one kind, best of unlike sizes.
    """
    modality, arguments, groups, stock = _encode(model, inputs)
    members = _members(groups)
    seen: set[int] = set()
    names = (name for name in _pixels(modality) if name in inputs)
    for name, unit in ((n, u) for n in names for u in _units(modality, arguments, inputs[n])):
        disturbed = inputs[name].clone()
        disturbed[unit] *= -2  # what is black, as padding is, stays so
        features = _encode(model, {**inputs, name: disturbed})[3]
        changed = (features != stock).any(-1).cpu()
        if not changed.any() and not inputs[name][unit].any():
            continue
        hit = [label for label, tokens in enumerate(members) if torch.equal(tokens, changed)]
        assert hit, (
            f"{type(model).__name__}: {name}{list(unit)} of the {modality}s change "
            f"{_told(changed, members)}, which is not one whole group"
        )
        seen.update(hit)
    _check_all_seen(modality, groups, seen)


def _pixels(modality: str) -> tuple[str, str]:
    """Names of a modality's pixels: of whole pictures, and of their local tiles."""
    return pixels_of(modality), f"{pixels_of(modality)}_local"


def _check_all_seen(modality: str, groups: list[Tensor], seen: set[int]) -> None:
    """Of an entry's groups one at most, its separators, hangs on no pixels."""
    first = 0
    for number, entry in enumerate(groups):
        labels = range(first, first := first + int(entry.max()) + 1)
        unseen = [label - labels[0] for label in labels if label not in seen]
        assert len(unseen) <= (len(labels) > 1), (
            f"groups {unseen} of {modality} {number} change with no pixels of its own"
        )


def _members(groups: list[Tensor]) -> list[Tensor]:
    """For each group of all entries, one after another, which tokens are in it."""
    starts = [0]
    for entry in groups:
        starts.append(starts[-1] + int(entry.max()) + 1)
    labels = torch.cat([g + start for g, start in zip(groups, starts, strict=False)])
    return [labels == label for label in range(starts[-1])]


def _told(changed: Tensor, members: list[Tensor]) -> str:
    """How many tokens of which groups."""
    counts = {label: int((tokens & changed).sum()) for label, tokens in enumerate(members)}
    parts = [f"{n} of {int(members[g].sum())} tokens of group {g}" for g, n in counts.items() if n]
    return ", ".join(parts) or "nothing"


def _units(modality: str, arguments: Mapping[str, Any], pixels: Tensor) -> Iterator[Unit]:
    """Where the pixels of each tile, frame or time step stand."""
    grids, shapes = patch_grids(modality, arguments), patch_shapes(modality, arguments)
    start = 0
    if shapes is not None and pixels.dim() == 4:  # all patches stand in one row
        every, patch = slice(None), pixels.shape[-2]
        for rows, columns in shapes:
            yield every, every, every, slice(start, start := start + rows * columns * patch)
    elif grids is not None:
        for steps, rows, columns in grids.tolist():
            for _ in range(steps):
                yield (slice(start, start := start + rows * columns),)
    else:
        # a picture is patches with places, or channels, rows and columns
        dims = 2 if f"{modality}_position_ids" in arguments else 3
        lead = pixels.shape[: max(pixels.dim() - dims, 1)]
        yield from itertools.product(*map(range, lead))


def _encode(
    model: Any, inputs: Mapping[str, Tensor]
) -> tuple[str, Mapping[str, Any], list[Tensor], Tensor]:
    """Modality, arguments, groups and features (V, D) of a prompt's pictures."""
    family, core = family_of(model), model.model
    found: list[Any] = []

    def noted(modality: str, encode: Callable[[], Any], arguments: Mapping[str, Any]) -> Any:
        output = encode()
        pooled = output.pooler_output
        groups = family.groups(core, modality, arguments, pooled)
        rows = [entry.flatten(0, -2) for entry in pooled]
        # transformers 5.17 adds a clip's separator afterwards
        wanted = [len(group) - len(entry) for group, entry in zip(groups, rows, strict=True)]
        features = torch.cat([F.pad(r, (0, 0, 0, n)) for r, n in zip(rows, wanted, strict=True)])
        found[:] = [modality, arguments, groups, features]
        return output

    with watch_encoding(core, noted):
        model(**inputs)
    modality, arguments, groups, features = found
    return modality, arguments, groups, features
