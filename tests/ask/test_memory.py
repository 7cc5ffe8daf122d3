"""What an LLM remembers of a conversation: dropping from it is masking, in flat memory."""

import pytest
import torch

import foveate
from foveate.ask.memory import Memory
from foveate.combine.aim import AIM
from foveate.errors import UnsupportedError
from foveate.models.family import families, family_of
from foveate.models.layout import Layout
from foveate.reduction import as_reduction
from foveate.runtime.reduced_cache import CacheState
from foveate.testing import tiny
from foveate.testing.masking import append, by_head, masked_states, merged_prompt
from foveate.testing.turns import joined

OFF, MERGE, BOTH = foveate.Reduction(), AIM(0.5, None), AIM(0.5, (1, 4))
TURNS = {
    "off": (OFF, OFF, OFF), "merged": (MERGE, MERGE, MERGE), "both": (BOTH, BOTH, MERGE),
}  # fmt: skip
TOKENS = 4


def remembers(model, **options):
    """A memory of a model that never ends an answer, or None where it is refused."""
    model.generation_config.eos_token_id = None
    family = family_of(model)
    layout = Layout.of(family.language_model(model.model).config)
    refused = layout.shares_keys or family.model_type in ("gemma3", "gemma4", "paligemma")
    if not refused:
        return Memory(model, **options)
    with pytest.raises(UnsupportedError, match="cannot go on behind a cached history"):
        Memory(model, **options)
    return None


class Where:
    """Which rows of the twin each layer of a cache holds, told only what is dropped."""

    def __init__(self, depth):
        self.rows = [[] for _ in range(depth)]

    def drop(self, keep, held):
        """Of each layer that gave up some the rows that it did."""
        dropped = []
        for number, (kept, last) in enumerate(zip(keep, held, strict=True)):
            if kept is not None:
                before = self.rows[number][-last:]
                self.rows[number] = [before[place] for place in kept.tolist()]
                dropped.append((number, sorted(set(before) - set(self.rows[number]))))
        return dropped

    def add(self, twin, first):
        """Rows of a prompt, or of a token, from the first on."""
        stays = twin["removed_after"][first:]
        for number, rows in enumerate(self.rows):
            rows += [first + row for row in (stays >= number).nonzero()[:, 0].tolist()]


@pytest.mark.parametrize("turns", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("name", families())
def test_what_is_forgotten_is_masked_from_then_on(name, turns, monkeypatch):
    check_budget(name, turns, monkeypatch)


@pytest.mark.every_family
@pytest.mark.parametrize("name", ["exaone4_5", "qwen3_5"])
def test_so_it_is_where_layers_have_a_window_or_no_attention(name, monkeypatch):
    check_budget(name, TURNS["both"], monkeypatch)


def check_budget(name, turns, monkeypatch):
    """Within a third of a picture, a family's memory against the twin."""
    model, inputs = tiny(name)
    most = len(visual_rows(model, inputs)) // 3
    memory = remembers(model, most_visual_tokens=most)
    if memory is not None:
        check_forgetting_is_masking(model, inputs, turns, memory, monkeypatch)
        assert max(memory.visual_tokens()) == most


@torch.no_grad()
def check_forgetting_is_masking(model, inputs, turns, memory, monkeypatch):
    """The logits of each turn against the twin over all of it, which masks what was dropped.

    Returns:
        the twin, and the logits that the memory reads from now on.
    """
    where, drop, drops, forgot = Where(memory.layout.depth), CacheState.drop, [], False
    monkeypatch.setattr(
        CacheState, "drop", lambda state, *what: (drops.append(what), drop(state, *what))
    )
    read, heard = memory._read, []
    monkeypatch.setattr(memory, "_read", lambda given: (heard.append(read(given)), heard[-1])[1])
    twin = None
    for reduction in turns:
        before = 0 if twin is None else len(twin["removed_after"])
        pending = list(memory.pending)
        with foveate.reduce(model, reduction) as run:
            said = memory.answer(inputs, TOKENS)
        own = merged_prompt(model, inputs, as_reduction(reduction), run.report)
        if twin is not None:
            append(model, twin, *pending)
        twin = own if twin is None else joined(twin, own)
        where.add(twin, before)
        length = len(twin["removed_after"])
        gone = where.drop(*drops.pop())
        twin["hidden"] = [*twin.get("hidden", []), *((n, rows, length) for n, rows in gone)]
        forgot = forgot or bool(gone)
        for number, token in enumerate(said):
            check_last_logits(model, twin, heard.pop(0))
            if number < len(said) - 1:
                append(model, twin, token)
                where.add(twin, len(twin["removed_after"]) - 1)
    assert forgot
    return twin, heard


def check_last_logits(model, twin, logits):
    """Logits behind the last row, where no picture can be said."""
    expected = by_head(model, masked_states(model, twin)[-1:])[0]
    expected[list(family_of(model).placeholders(model.config).values())] = -torch.inf
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


@pytest.fixture(params=["aya_vision", "cohere2_vision"])
def sliding(request):
    """A model with windows, its inputs, and a memory of a third of a picture."""
    model, inputs = tiny(request.param)
    most = len(visual_rows(model, inputs)) // 3
    return model, inputs, remembers(model, most_visual_tokens=most)


@pytest.mark.every_family
@torch.no_grad()
def test_layers_with_as_many_but_other_rows_see_their_own_behind_text(sliding, monkeypatch):
    model, inputs, memory = sliding
    twin, heard = check_forgetting_is_masking(model, inputs, (BOTH,), memory, monkeypatch)
    places = [part.value[0].tolist() for part in memory.cache.state.positions if part is not None]
    assert any(len(one) == len(other) and one != other for one in places for other in places)
    ids = torch.arange(30)[None] % 5 + 3  # longer than the window
    for token in (*memory.pending, *ids[0].tolist()):
        append(model, twin, token)
    with foveate.reduce(model, OFF):
        memory.answer({"input_ids": ids, "attention_mask": torch.ones_like(ids)}, 1)
    check_last_logits(model, twin, heard.pop(0))


@pytest.mark.every_family
def test_layers_with_as_many_but_other_rows_see_their_own_behind_a_picture(sliding, monkeypatch):
    model, inputs, memory = sliding
    check_forgetting_is_masking(model, inputs, (BOTH, MERGE), memory, monkeypatch)


def visual_rows(model, inputs):
    placeholders = list(family_of(model).placeholders(model.config).values())
    return torch.isin(inputs["input_ids"][0], torch.tensor(placeholders)).nonzero()[:, 0]
