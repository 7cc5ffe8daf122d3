"""`Target`: a model that is to be reduced, and its parts."""

from dataclasses import dataclass
from typing import Any

from foveate.models.family import Family
from foveate.runtime.seams import Seams


@dataclass(frozen=True)
class Target:
    """A model that is reduced, and its parts.

    Attributes:
        model: the whole model.
        core: the model without its head.
        llm: the LLM, whose `layers` are its decoder layers.
        family: the model's family.
        seams: the signatures of these modules.
    """

    model: Any
    core: Any
    llm: Any
    family: Family
    seams: Seams

    @classmethod
    def of(cls, model: Any, family: Family) -> "Target":
        """Find the parts of a model.

        Raises:
            UnsupportedError: a part is not as expected.
        """
        core = model.model
        llm = family.language_model(core)
        return cls(model, core, llm, family, Seams.of(model, core, llm, family))
