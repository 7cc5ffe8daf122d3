"""What methods have in common that combine one before the LLM with one inside it."""

from dataclasses import dataclass, field

from foveate.knobs import Checked
from foveate.reduction import Compressor, Encoding, Pruner, Reduction


@dataclass(frozen=True)
class Combination(Reduction, Checked):
    """Base of methods that are made of two others: `pair` makes these from the knobs."""

    before: Compressor | None = field(init=False, repr=False, default=None)
    inside: Pruner | None = field(init=False, repr=False, default=None)
    encode: Encoding | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        for place, part in zip(("before", "inside"), self.pair(), strict=True):
            object.__setattr__(self, place, part)

    def pair(self) -> tuple[Compressor | None, Pruner | None]:
        """The method before the LLM and the one inside it, as the knobs say."""
        raise NotImplementedError
