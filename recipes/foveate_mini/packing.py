"""Many questions about one picture in one sequence, each as if it were the only one.

A sequence is the chat header, the picture's visual tokens, then one turn after another. Every turn
attends to header, picture and itself, never to another turn, and its positions start right after
the picture. So each turn computes exactly what the stock model computes for a first turn, and the
picture is computed once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from foveate.scenes.sample import Question
from recipes.foveate_mini.tokens import END, HEADER, turn

IGNORED = -100
# Tokens before the answer that reach back to the word asked for: "7?", "red digit?" and the chat
# marks after it.
EARLY = 8


@dataclass(frozen=True)
class Turns:
    """The text of a batch: turns one after another, padded at the end.

    Attributes:
        ids: tokens of all turns of each picture.
        offset: place of each token in its own turn.
        segment: number of the turn from 1; 0 = padding.
        target: the token to be predicted after this one, IGNORED unless it belongs to an answer.
        early: the first token of the answer, at the last tokens of the question too; else IGNORED.
    """

    ids: Int[Tensor, "B T"]
    offset: Int[Tensor, "B T"]
    segment: Int[Tensor, "B T"]
    target: Int[Tensor, "B T"]
    early: Int[Tensor, "B T"]

    def to(self, device: torch.device | str) -> "Turns":
        """The same on a device."""
        return Turns(**{name: column.to(device) for name, column in vars(self).items()})


class Packer:
    """Tokenizes turns; remembers every turn it has seen, for there are only so many questions."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self._ids = lru_cache(maxsize=100_000)(
            lambda text: tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
        )
        self.header = torch.tensor(self._ids(HEADER))

    def pack(self, asked: list[list[Question]]) -> Turns:
        """The questions of each picture, with their answers, as one batch."""
        rows = [self._row(questions) for questions in asked]
        length = max(len(row[0]) for row in rows)
        fill = (0, 0, 0, IGNORED, IGNORED)
        columns = [
            [row[kind] + [fill[kind]] * (length - len(row[kind])) for row in rows]
            for kind in range(5)
        ]
        return Turns(*(torch.tensor(column) for column in columns))

    def _row(self, questions: list[Question]) -> tuple[list[int], ...]:
        ids, offset, segment, target, early = [], [], [], [], []
        for number, question in enumerate(questions, start=1):
            prompt, answer = self._ids(turn(question.text)), self._ids(question.answer + END)
            whole = prompt + answer
            ids += whole
            offset += range(len(whole))
            segment += [number] * len(whole)
            target += [IGNORED] * (len(prompt) - 1) + list(answer) + [IGNORED]
            sooner = [IGNORED] * (len(prompt) - EARLY) + [answer[0]] * (EARLY - 1)
            early += sooner + [IGNORED] * (1 + len(answer))
        return ids, offset, segment, target, early


def turn_mask(prefix: int, segment: Int[Tensor, "B T"]) -> Bool[Tensor, "B 1 T N"]:
    """Which of the `prefix` shared tokens and T turn tokens each turn token may attend to."""
    length = segment.shape[1]
    same = segment[:, None, :] == segment[:, :, None]
    own = same & same.new_ones(length, length).tril()
    shared = same.new_ones(len(segment), length, prefix)
    return torch.cat([shared, own], dim=-1)[:, None]


def packed_attention(
    module: nn.Module,
    query: Float[Tensor, "B H N d"],
    key: Float[Tensor, "B G N d"],
    value: Float[Tensor, "B G N d"],
    attention_mask: Bool[Tensor, "B 1 T N"],
    scaling: float,
    **_: object,
) -> tuple[Float[Tensor, "B N H d"], None]:
    """Attention of shared tokens and turns apart: causal for the first, where half can be skipped.

    The signature is what transformers asks of an attention function.
    """
    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    attend = nn.functional.scaled_dot_product_attention
    prefix = query.shape[2] - attention_mask.shape[2]
    asked, known, told = (part[:, :, :prefix] for part in (query, key, value))
    before = attend(asked, known, told, is_causal=True, scale=scaling)
    turns = attend(query[:, :, prefix:], key, value, attn_mask=attention_mask, scale=scaling)
    return torch.cat([before, turns], dim=2).transpose(1, 2).contiguous(), None


@contextmanager
def packed(language: Any) -> Iterator[None]:
    """While open, the language model's layers use `packed_attention`."""
    AttentionInterface.register("foveate_packed", packed_attention)
    before = language.config._attn_implementation
    language.config._attn_implementation = "foveate_packed"
    try:
        yield
    finally:
        language.config._attn_implementation = before


def forward(
    model: LlavaOnevisionForConditionalGeneration,
    header: Int[Tensor, "H"],
    visual: Float[Tensor, "B V D"],
    turns: Turns,
    drop_after: int | None = None,
) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B V D"]]:
    """Run the stock decoder layers over header, picture and turns.

    Args:
        model: the model whose decoder layers run.
        header: tokens before the picture.
        visual: the picture's tokens, all or some of them; positions are consecutive.
        turns: the questions and answers about each picture.
        drop_after: the layer after which all visual tokens leave the sequence; None = they stay.

    Returns:
        the final states of the turns, and the states of the visual tokens halfway up (or where
        they leave, if that is earlier).
    """
    language = model.model.language_model
    embed, batch = language.embed_tokens, visual.shape[0]
    first, prefix = len(header), len(header) + visual.shape[1]
    begun = embed(header.to(visual.device)).expand(batch, -1, -1)
    states = torch.cat([begun, visual, embed(turns.ids)], dim=1)
    before = torch.arange(prefix, device=visual.device).expand(batch, -1)
    positions = torch.cat([before, prefix + turns.offset], dim=1)
    cos, sin = language.rotary_emb(states, positions)
    mask = turn_mask(prefix, turns.segment)
    halfway = len(language.layers) // 2 - 1
    if drop_after is not None:
        halfway = min(halfway, drop_after)
    visual_states = visual
    with packed(language):
        for number, layer in enumerate(language.layers):
            states = layer(states, attention_mask=mask, position_embeddings=(cos, sin))
            if number == halfway:
                visual_states = states[:, first:prefix]
            if number == drop_after:
                states, cos, sin = (
                    torch.cat([part[:, :first], part[:, prefix:]], dim=1)
                    for part in (states, cos, sin)
                )
                mask = turn_mask(first, turns.segment)
                prefix = first
    return language.norm(states[:, prefix:]), visual_states


def answer_loss(
    model: LlavaOnevisionForConditionalGeneration, states: Float[Tensor, "B T D"], turns: Turns
) -> tuple[Float[Tensor, ""], Bool[Tensor, "answers"]]:
    """Cross entropy over answer tokens, and which of them were predicted right."""
    asked = turns.target != IGNORED
    logits, target = model.lm_head(states[asked]), turns.target[asked]
    return nn.functional.cross_entropy(logits, target), logits.argmax(-1) == target


def early_loss(
    model: LlavaOnevisionForConditionalGeneration, states: Float[Tensor, "B T D"], turns: Turns
) -> Float[Tensor, ""]:
    """Cross entropy of the answer's first token, said already while the question is read.

    At the word that is asked for, looking it up takes one step of attention; where the answer is
    written it takes two, each of which is of no use before the other is learnt.
    """
    asked = turns.early != IGNORED
    return nn.functional.cross_entropy(model.lm_head(states[asked]), turns.early[asked])


def turn_hits(turns: Turns, right: Bool[Tensor, "answers"]) -> list[list[bool]]:
    """Whether every token of an answer was right, for each turn of each picture."""
    turns, right = (
        turns.to("cpu"),
        right.cpu(),
    )  # at once: asked for one by one, a GPU waits each time
    asked = turns.target != IGNORED
    hit = torch.ones_like(asked)
    hit[asked] = right
    return [
        [bool(row_hit[row == number].all()) for number in range(1, int(row.max()) + 1)]
        for row, row_hit in zip(turns.segment, hit, strict=True)
    ]
