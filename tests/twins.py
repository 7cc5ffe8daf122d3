"""Slow, obvious twins: what the fast paths must agree with, written to be checked by eye."""

import math

import torch
from torch import Tensor


def naive_merge(group: Tensor, removals: list[int]) -> tuple[Tensor, list[set[int]]]:
    """AIM merging of one (N, D) group in plain loops, in raster order.

    Returns the merged rows and, for each, the set of patches in it.
    """
    rows = [(group[i], {i}, i) for i in range(len(group))]
    for removed in removals:
        sources, destinations = rows[::2], rows[1::2]
        links = []
        for place, (feature, _, _) in enumerate(sources):
            similar = [float(torch.cosine_similarity(feature, d[0], dim=0)) for d in destinations]
            best = max(range(len(similar)), key=similar.__getitem__)
            links.append((similar[best], place, best))
        links.sort(key=lambda link: -link[0])
        merged = links[: min(removed, len(rows) // 2)]
        gone = {place for _, place, _ in merged}
        after = [row for place, row in enumerate(sources) if place not in gone]
        for best, (feature, patches, position) in enumerate(destinations):
            joined = [sources[place] for _, place, to in merged if to == best]
            mean = torch.stack([feature, *[row[0] for row in joined]]).mean(0)
            after.append((mean, patches.union(*[row[1] for row in joined]), position))
        rows = sorted(after, key=lambda row: row[2])
    return torch.stack([row[0] for row in rows]), [row[1] for row in rows]


def naive_importance(
    query: Tensor, key: Tensor, temperature: float, steps: int, damping: float = 0.0
) -> Tensor:
    """AIM importance of one sample, (H, N, d) x 2 -> (N,), over the whole N x N matrix."""
    heads, count, width = query.shape
    total = torch.zeros(count)
    for head in range(heads):
        other = head * len(key) // heads
        logits = query[head] @ key[other].T / math.sqrt(width)
        for row in range(count):
            logits[row, row + 1 :] = -math.inf
        matrix = (logits / temperature).softmax(-1)
        mass = torch.full((count,), 1 / count)
        for _ in range(steps):
            mass = damping / count + (1 - damping) * (mass @ matrix)
        total += mass**2
    return (total / heads).sqrt()


def naive_attention(
    query: Tensor, key: Tensor, scaling: float, valid: Tensor | None = None
) -> Tensor:
    """Causal attention of one sample, (H, N, d) x 2 -> (N, N), averaged over heads."""
    heads, count, _ = query.shape
    total = torch.zeros(count, count)
    for head in range(heads):
        logits = query[head] @ key[head * len(key) // heads].T * scaling
        for row in range(count):
            logits[row, row + 1 :] = -math.inf
            if valid is not None:
                logits[row, ~valid] = -math.inf
        total += logits.softmax(-1).nan_to_num()
    return total / heads


def most_diverse(group: torch.Tensor, count: int) -> list[int]:
    """Max-min choice of one group in plain loops."""
    many = range(len(group))
    apart = [
        [float(1 - torch.cosine_similarity(group[i], group[j], dim=0)) for j in many] for i in many
    ]
    chosen = [max(many, key=lambda i: min(apart[i][j] for j in many if j != i))]
    while len(chosen) < count:
        rest = [i for i in many if i not in chosen]
        chosen.append(max(rest, key=lambda i: min(apart[i][j] for j in chosen)))
    return chosen


def repeated_states(llm, embeds, positions, sizes, dropped):
    """States behind an LLM's norm of one sample whose row i stands there `sizes[i]` times.

    Copies share a position, and see each other and all rows before them. Behind layer n the rows of
    `dropped[n]` go, all copies of them. Returns one copy of each row that is left.
    """
    owner = torch.arange(len(sizes)).repeat_interleave(sizes)
    states, positions = embeds[:, owner], positions[:, owner]
    for number, layer in enumerate(llm.layers):
        mask = torch.zeros(1, 1, len(owner), len(owner))
        mask[0, 0, owner[:, None] < owner[None]] = -math.inf
        rope = llm.rotary_emb(states, positions)
        states = layer(
            states, attention_mask=mask, position_ids=positions, position_embeddings=rope
        )
        states = states[0] if isinstance(states, tuple) else states
        left = [
            place for place, row in enumerate(owner.tolist()) if row not in dropped.get(number, ())
        ]
        states, positions, owner = states[:, left], positions[:, left], owner[left]
    first = [place for place in range(len(owner)) if not place or owner[place] != owner[place - 1]]
    return llm.norm(states[:, first])
