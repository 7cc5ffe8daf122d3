"""The contract as a whole, run on one model: what holds, and what does not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from foveate.combine.aim import AIM
from foveate.errors import InputError
from foveate.models.family import Family
from foveate.models.layout import Layout
from foveate.testing.groups import check_groups
from foveate.testing.masking import check_dropping_is_masking
from foveate.testing.models import beside
from foveate.testing.reductions import (
    check_batch_is_samples_alone,
    check_no_trace,
    check_off_is_bit_identical,
    check_tokens_are_gone,
)


@dataclass(frozen=True)
class Finding:
    """What one check of the contract found.

    Attributes:
        modality: "image" or "video".
        what: must hold.
        fault: why it does not; "" where it holds.
    """

    modality: str
    what: str
    fault: str

    @property
    def holds(self) -> bool:
        """Whether the check passed."""
        return not self.fault


def check_contract(model: Any, family: Family) -> Iterator[Finding]:
    """Run every check on a model, one after another; none stops the others.

    Args:
        model: of any family, on any device, and small, or the time must be had.
        family: that draws its prompts by `tiny_inputs`.
    """
    model.generation_config.pad_token_id = 0
    for modality in family.modalities:
        first = _finding(
            modality, "the model itself runs a prompt", _stock(model, family, modality)
        )
        yield first
        for what, check in _checks(model, family, modality) if first.holds else ():
            yield _finding(modality, what, check)


def _finding(modality: str, what: str, check: Callable[[], Any]) -> Finding:
    try:
        check()
    except Exception as error:  # of any kind: whatever this model does not do
        return Finding(modality, what, " ".join(str(error).split()) or type(error).__name__)
    return Finding(modality, what, "")


def _stock(model: Any, family: Family, modality: str) -> Callable[[], Any]:
    """Without foveate: what it cannot do then, no reduction can."""

    @torch.no_grad()
    def run() -> None:
        token = family.placeholders(model.config).get(modality)
        if token is None:
            raise InputError(f"the config has no {modality}_token_id; give that of a checkpoint")
        try:
            model(**_drawn(model, family, [[(modality, 0)]]))
        except IndexError as error:
            if token < model.get_input_embeddings().weight.shape[0]:
                raise
            raise InputError(
                f"{modality}_token_id {token} is beyond the vocabulary that the config names; give the "
                "config of a checkpoint"
            ) from error
        except StopIteration:  # which says nothing by itself, and has no text
            raise InputError(
                f"its positions cannot be told for the {modality} that was drawn"
            ) from None

    return run


def _drawn(model: Any, family: Family, samples: Any) -> dict[str, Tensor]:
    return beside(model, family.tiny_inputs(model.config, samples))


def _window(config: Any) -> tuple[int, int]:
    """Where an LLM can prune: from its first layer that rates on, before shared keys and the last."""
    layout = Layout.of(config)
    start = max(1, layout.attending[0])
    return start, max(start + 1, min(start + 3, layout.first_shared, layout.depth - 1))


def _checks(model: Any, family: Family, modality: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Each check by what must hold; prompts are drawn when it runs."""
    reduction = AIM(0.5, _window(family.language_model(model.model).config))
    pictures = [(modality, 0), (modality, 1), (modality, 2)]
    samples = [[pictures[0]], [], pictures[1:]]

    def on_one(check: Callable[..., None], *more: Any) -> Callable[[], None]:
        return lambda: check(model, _drawn(model, family, [[pictures[0]]]), *more)

    yield (
        "a group is what the pixels of one tile or frame change",
        lambda: check_groups(model, _drawn(model, family, [pictures[:2], pictures[2:]])),
    )
    yield "off is bit-identical", on_one(check_off_is_bit_identical)
    yield "dropping is masking", on_one(check_dropping_is_masking, reduction)
    yield "dropped tokens are out of layers and cache", on_one(check_tokens_are_gone, reduction)
    yield "no trace is left", on_one(check_no_trace, reduction)
    for padding in ("left", "right"):
        yield (
            f"a batch padded on the {padding} is its samples alone",
            partial(
                check_batch_is_samples_alone, model, samples, reduction, padding, family.tiny_inputs
            ),
        )
