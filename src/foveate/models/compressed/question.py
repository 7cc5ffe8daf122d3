"""The question as one vector, and what making it costs.

As published, the question runs through the LLM itself, and its last token's last hidden state is the
vector: one more pass over the question's tokens. The mean of their embeddings costs next to nothing.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.cost.llm import prefill_cost

KEPT = 256  # questions


def question_vectors(
    language: Any, how: str, ids: Int[Tensor, "B Q"], mask: Int[Tensor, "B Q"]
) -> Float[Tensor, "B T"]:
    """One vector a question, padded on whichever side.

    Args:
        language: the LLM.
        how: "llm" (no gradient flows into it, as published) or "embedding".
        ids: the question's tokens.
        mask: 1 at tokens, 0 at padding.
    """
    if how == "embedding":
        embedded = language.get_input_embeddings()(ids) * mask[..., None]
        return embedded.sum(1) / mask.sum(1, keepdim=True)
    with torch.no_grad():
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        states = language(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
    last = (mask * torch.arange(1, ids.shape[1] + 1, device=ids.device)).argmax(1)
    return states[torch.arange(len(ids), device=ids.device), last]


def question_flops(config: Any, how: str, tokens: int) -> int:
    """FLOPs of one question's vector.

    Args:
        config: of the LLM.
        how: "llm" or "embedding".
        tokens: of the question.
    """
    if how == "embedding":
        return tokens * config.hidden_size
    head = 2 * config.hidden_size * config.vocab_size  # no word is predicted
    return prefill_cost(config, [0] * config.num_hidden_layers, tokens).flops - head


class QuestionCache:
    """Vectors of the last questions, good for as long as the LLM's weights stay the same."""

    def __init__(self) -> None:
        self._vectors: dict[tuple[int, ...], Tensor] = {}
        self._weights: Any = None

    def vectors(
        self, language: Any, how: str, ids: Int[Tensor, "B Q"], mask: Int[Tensor, "B Q"]
    ) -> tuple[Float[Tensor, "B T"], list[int]]:
        """Vectors of the questions, and for each the FLOPs spent on it: 0 if it was known.

        In training, or where a gradient is wanted, every question is made anew, once a batch.
        """
        weights = [
            (p.data_ptr(), p._version, p.dtype, str(p.device)) for p in language.parameters()
        ]
        if weights != self._weights or torch.is_grad_enabled():
            self._vectors, self._weights = {}, weights
        keys = [tuple(row[keep.bool()].tolist()) for row, keep in zip(ids, mask, strict=True)]
        new = {key: row for row, key in reversed(list(enumerate(keys))) if key not in self._vectors}
        flops = [0] * len(keys)
        if new:
            rows = torch.tensor(sorted(new.values()), device=ids.device)
            made = question_vectors(language, how, ids[rows], mask[rows])
            for row, vector in zip(rows.tolist(), made, strict=True):
                self._vectors[keys[row]] = vector
                flops[row] = question_flops(language.config, how, len(keys[row]))
        vectors = torch.stack([self._vectors[key] for key in keys])
        if torch.is_grad_enabled():
            self._vectors = {}
        while len(self._vectors) > KEPT:
            del self._vectors[next(iter(self._vectors))]
        return vectors, flops
