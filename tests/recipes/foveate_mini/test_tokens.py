"""The tokenizer reads and writes character by character where it must."""

import pytest

from recipes.foveate_mini.tokens import build_processor, token_ids, turn


@pytest.fixture(scope="module")
def tokenizer(processor):
    return processor.tokenizer


@pytest.mark.parametrize("text", ["1234567890", "BOTTLE", "AABBZZ", "7A7"])
def test_digits_and_capitals_are_never_merged(tokenizer, text):
    assert tokenizer.tokenize(text) == list(text)


@pytest.mark.parametrize("word", ["red", "orange", "left", "yes", "no"])
def test_a_word_answer_is_one_token(tokenizer, word):
    assert len(tokenizer.tokenize(word)) == 1


def test_a_template_word_is_one_token(tokenizer):
    assert len(tokenizer.tokenize("in which direction does the")) == 5


@pytest.mark.parametrize("text", ["Grüße, 東京! £5", "what is this?", " two  spaces\n"])
def test_any_text_survives(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_vocabulary_is_small_and_the_same_every_time(tokenizer):
    again = build_processor().tokenizer
    assert again.get_vocab() == tokenizer.get_vocab()
    assert token_ids(tokenizer)["vocabulary"] == len(tokenizer) < 640


def test_chat_template_is_header_picture_turn(processor):
    content = [{"type": "text", "text": "count the digits."}, {"type": "image"}]
    chat = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    assert text == "<|im_start|>user\n<image>" + turn("count the digits.")


def test_chat_template_takes_plain_text_and_history(processor):
    chat = [
        {"role": "user", "content": "read the word."},
        {"role": "assistant", "content": "BOX"},
    ]
    assert processor.apply_chat_template(chat) == (
        "<|im_start|>user\nread the word.<|im_end|>\n<|im_start|>assistant\nBOX<|im_end|>\n"
    )
