"""Labels for a tiny prompt."""

from foveate.defaults import IGNORED
from foveate.models.family import family_of


def with_labels(model, inputs):
    """The prompt with its own text as labels."""
    labels = inputs["input_ids"].clone()
    for token in family_of(model).placeholders(model.config).values():
        labels[labels == token] = IGNORED
    return {**inputs, "labels": labels}
