"""Conversations: each turn reads its own part alone, within a budget, and goes on after it was saved."""

import random

import pytest
import torch

import foveate
from foveate.ask.memory import Memory
from foveate.ask.vlm import VLM
from foveate.combine.aim import AIM
from foveate.errors import InputError, UnsupportedError
from foveate.models.family import family_of
from mini import TINY
from recipes.foveate_mini.model import build
from recipes.foveate_mini.tokens import build_processor, token_ids

BOTH = AIM(0.5, (1, 2))
QUESTIONS = ("how many digits are there?", "how many reds are there?", "what is it?")


@pytest.fixture(scope="module")
def vlm():
    """foveate-mini."""
    return foveate.load()


@pytest.fixture
def small():
    """A tiny random model of its kind, which never ends an answer."""
    processor = build_processor()
    model = build(TINY, token_ids(processor.tokenizer), seed=0).eval()
    model.generation_config.eos_token_id = None
    return VLM(model, processor, family_of(model))


@pytest.fixture
def reads(monkeypatch):
    """The ids of all that a model reads."""
    seen, read = [], Memory._read
    monkeypatch.setattr(
        Memory, "_read", lambda self, given: (seen.append(given["input_ids"]), read(self, given))[1]
    )
    return seen


def test_first_turn_is_asked_as_alone(vlm):
    for reduction in (None, AIM(keep=0.25)):
        one = foveate.Conversation(vlm, reduction).ask(foveate.example(), QUESTIONS[0])
        alone = vlm.ask(foveate.example(), QUESTIONS[0], reduction)
        assert one.text == alone.text
        assert one.report.visual_tokens_by_layer == alone.report.visual_tokens_by_layer


@pytest.mark.parametrize("most_tokens", [1, 16], ids=["cut off", "ended"])
def test_what_is_read_is_what_the_template_makes_of_it_all(vlm, reads, most_tokens):
    talk, turns = foveate.Conversation(vlm, BOTH), []
    (picture,) = vlm.pictures(foveate.example())
    for shown, question in (([picture], QUESTIONS[0]), ([], QUESTIONS[1]), ([picture] * 2, "so?")):
        turns.append({"role": "user", "content": [*shown, question]})
        whole = vlm.chats([turns])["input_ids"][0]
        before = len(reads)
        talk.ask(shown, question, max_new_tokens=most_tokens)
        read = torch.cat(reads[: before + 1], dim=1)[0]
        assert without_pictures(vlm, read) == without_pictures(vlm, whole)
        turns.append({"role": "assistant", "content": [talk._turns[-1]["content"][0]["text"]]})


def without_pictures(vlm, ids):
    """How many tokens a picture takes depends on how many are in a prompt."""
    return ids[ids != vlm.model.config.image_token_id].tolist()


def test_a_template_that_writes_earlier_turns_anew_gets_the_turn_alone(small, reads, monkeypatch):
    last = "{{ messages | length }}<image>{{ messages[-1]['content'][-1]['text'] }}"
    monkeypatch.setattr(small.processor, "chat_template", last)
    talk = foveate.Conversation(small)
    for question in QUESTIONS[:2]:
        talk.ask(foveate.example(), question, max_new_tokens=1)
    (alone,) = small.inputs(foveate.example(), QUESTIONS[1])["input_ids"]
    assert reads[1][0, 1:].tolist() == alone.tolist()


def test_nothing_is_read_or_encoded_twice(small, reads, monkeypatch):
    encoded, encode = [], type(small.model.model).get_image_features
    monkeypatch.setattr(
        type(small.model.model), "get_image_features",
        lambda *args, **kwargs: (encoded.append(1), encode(*args, **kwargs))[1],
    )  # fmt: skip
    talk = foveate.Conversation(small, BOTH)
    for media in (foveate.example(), None, foveate.example(), None):
        talk.ask(media, QUESTIONS[0], max_new_tokens=2)
    assert len(encoded) == 2
    cache = talk._memory.cache
    assert sum(ids.shape[1] for ids in reads) == cache.get_seq_length()


def test_fifty_pictures_in_flat_memory(small, reads):
    most = 60
    talk = foveate.Conversation(small, AIM(0.25, None), most_visual_tokens=most)
    for turn in range(1, 51):
        talk.ask(foveate.example(), QUESTIONS[turn % 3], max_new_tokens=3)
        layers = talk._memory.cache.layers
        row = sum(
            part[..., :1, :].nbytes for layer in layers for part in (layer.keys, layer.values)
        )
        assert talk.visual_tokens == [most] * len(layers)
        text = sum(len(without_pictures(small, ids[0])) for ids in reads)
        assert talk.kv_bytes == (text + most) * row, f"turn {turn}"


def test_the_oldest_picture_gives_up_first_and_down_to_none(small):
    talk = foveate.Conversation(small, AIM(0.25, None), most_visual_tokens=100)
    left = []
    for _ in range(3):
        talk.ask(foveate.example(), QUESTIONS[0], max_new_tokens=1)
        shown = talk._memory.cache.state.shown.prompt[0][0]
        left.append([int((shown == prompt).sum()) for prompt in range(3)])
    first, second, third = left
    assert first == [75, 0, 0]
    assert second == [25, 75, 0]
    assert third == [0, 25, 75]


@pytest.mark.parametrize("reduction", [None, BOTH], ids=["off", "reduced"])
def test_cut_at_a_random_turn_it_goes_on_the_same(small, reads, tmp_path, reduction):
    turns = [(foveate.example(), QUESTIONS[0]), (None, QUESTIONS[1])] * 3
    cut = random.randrange(1, len(turns))
    talk = foveate.Conversation(small, reduction, most_visual_tokens=400)
    for turn in turns[:cut]:
        talk.ask(*turn, max_new_tokens=3)
    talk.save(tmp_path / "talk.pt")
    del reads[:]
    for turn in turns[cut:]:
        talk.ask(*turn, max_new_tokens=3)
    uncut = [ids.tolist() for ids in reads]
    loaded = foveate.Conversation.load(small, tmp_path / "talk.pt")
    del reads[:]
    for turn in turns[cut:]:
        loaded.ask(*turn, max_new_tokens=3)
    assert [ids.tolist() for ids in reads] == uncut, f"cut before turn {cut}"
    assert (loaded.visual_tokens, loaded.kv_bytes) == (talk.visual_tokens, talk.kv_bytes)


def test_what_cannot_be_asked_is_one_clear_error(small, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="most_visual_tokens must be at least 1, got 0"):
        foveate.Conversation(small, most_visual_tokens=0)
    talk = foveate.Conversation(small)
    with pytest.raises(InputError, match="the question is empty"):
        talk.ask(None, " ")
    with pytest.raises(InputError, match="max_new_tokens must be at least 1"):
        talk.ask(None, "what?", max_new_tokens=0)
    (tmp_path / "none.pt").write_text("nothing")
    with pytest.raises(InputError, match="no conversation can be read from"):
        foveate.Conversation.load(small, tmp_path / "none.pt")
    monkeypatch.setattr(Memory, "_read", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        talk.ask(None, "what?")
    with pytest.raises(InputError, match="the turn before failed halfway"):
        talk.ask(None, "what?")
    with pytest.raises(InputError, match="nothing whole to save"):
        talk.save(tmp_path / "half.pt")
    monkeypatch.setattr(type(small.family), "blocks", lambda *_: None)
    with pytest.raises(UnsupportedError, match="see each other both ways"):
        foveate.Conversation(small)
