"""`Target`: a model that is to be reduced, and its parts."""

from dataclasses import dataclass
from typing import Any

from foveate.cost.shapes import LLM
from foveate.errors import UnsupportedError
from foveate.models.family import Family
from foveate.models.layout import Layout
from foveate.models.limits import Limits
from foveate.reduction import Reduction
from foveate.runtime.seams import Seams
from foveate.runtime.sizes import sizes_of


@dataclass(frozen=True)
class Target:
    """A model that is reduced, and its parts.

    Attributes:
        model: the whole model.
        core: the model without its head.
        llm: the LLM, whose `layers` are its decoder layers.
        family: the model's family.
        seams: the signatures of these modules.
        layout: what the LLM's layers do with the sequence.
        sizes: of the LLM, read off its modules.
    """

    model: Any
    core: Any
    llm: Any
    family: Family
    seams: Seams
    layout: Layout
    sizes: LLM

    @property
    def limits(self) -> Limits:
        """What the model refuses."""
        return Limits(self.family, self.core.config, self.layout)

    def refuse(self, reduction: Reduction) -> None:
        """Refuse a reduction that the model refuses.

        Raises:
            UnsupportedError: it does; the message says why.
        """
        if reason := self.limits.refusal(reduction):
            raise UnsupportedError(reason)

    @classmethod
    def of(cls, model: Any, family: Family) -> "Target":
        """Find the parts of a model.

        Raises:
            UnsupportedError: a part is not as expected.
        """
        core = model.model
        llm = family.language_model(core)
        layout = Layout.of(llm.config)
        seams = Seams.of(model, core, llm, family, layout)
        return cls(model, core, llm, family, seams, layout, sizes_of(model, llm, layout))
