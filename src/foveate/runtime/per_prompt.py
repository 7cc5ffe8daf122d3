"""A reduction that is chosen when the prompt is seen, from its samples' token counts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.reduction import Reduction
from foveate.runtime.visual_tokens import Visual


@dataclass(frozen=True)
class Sample:
    """The tokens of one sample of a prompt.

    Attributes:
        groups: visual tokens of each tile or frame.
        text_tokens: all other tokens, padding not counted.
    """

    groups: tuple[int, ...]
    text_tokens: int


ENCODING = ("attention", "keys", "grid")  # needs that must be noted while pictures are encoded
Choose = Callable[[Sequence[Sample]], Reduction]


def samples_of(visual: Visual, valid: Bool[Tensor, "B N"]) -> list[Sample]:
    """The samples of a prompt.

    Args:
        visual: where its visual tokens are.
        valid: False at padding.
    """
    text = (valid & ~visual.mask).sum(1).tolist()
    samples = []
    for number, text_tokens in enumerate(text):
        _, counts = visual.group[visual.sample == number].unique(return_counts=True)
        samples.append(Sample(tuple(counts.tolist()), text_tokens))
    return samples


def chosen(choose: Choose, visual: Visual, valid: Bool[Tensor, "B N"]) -> Reduction:
    """The reduction that is chosen for this prompt.

    Raises:
        UnsupportedError: a method that needs encoder signals: encoding is over by now.
    """
    reduction = choose(samples_of(visual, valid))
    if not can_be_chosen(reduction):
        raise UnsupportedError(
            "a reduction that is chosen by the prompt cannot need what only encoding shows "
            f"({', '.join(ENCODING)}), got {reduction}"
        )
    return reduction


def can_be_chosen(reduction: Reduction) -> bool:
    """Whether a reduction can be chosen when a prompt is seen: it needs nothing of the encoder."""
    before = reduction.before
    if reduction.encode is not None and not reduction.encode.is_off:
        return False
    return before is None or (before.at == "llm" and not set(before.needs) & set(ENCODING))
