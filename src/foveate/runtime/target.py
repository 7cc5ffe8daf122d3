"""A model that is to be reduced, and how its parts are found."""

from dataclasses import dataclass
from typing import Any

from foveate.models.family import Family
from foveate.runtime.seams import Seams


@dataclass(frozen=True)
class Target:
    """A model that is reduced, and how its parts are found.

    Attributes:
        model: the whole model.
        core: without its head.
        llm: the LLM, whose `layers` are its decoder layers.
        family: what is known of its family.
        seams: the signatures of these.
    """

    model: Any
    core: Any
    llm: Any
    family: Family
    seams: Seams

    @classmethod
    def of(cls, model: Any, family: Family) -> "Target":
        """The parts of a model.

        Raises:
            UnsupportedError: one of them is not as expected.
        """
        core = model.model
        llm = family.language_model(core)
        return cls(model, core, llm, family, Seams.of(model, core, llm, family))
