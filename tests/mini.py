"""One tiny random foveate-mini, its processor, and what a stock model says of a question."""

import pytest
import torch

from recipes.foveate_mini.model import MiniShape, build
from recipes.foveate_mini.tokens import END, build_processor, token_ids

TINY = MiniShape(width=32, tower_layers=2, tower_heads=2, layers=3, head=16, key_value_heads=1)


@pytest.fixture(autouse=True, scope="session")
def _two_threads():
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def processor():
    return build_processor()


@pytest.fixture(scope="session")
def model(processor):
    return build(TINY, token_ids(processor.tokenizer), seed=0).eval()


@pytest.fixture
def fresh(processor):
    return lambda: build(TINY, token_ids(processor.tokenizer), seed=0)


@pytest.fixture(scope="module")
def stock(model, processor, tmp_path_factory):
    """Folder of a tiny random foveate-mini."""
    folder = tmp_path_factory.mktemp("stock")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def stock_logits(model, processor, sample, question):
    """Logits after the prompt and inside the answer, by `model(**processor(...))`."""
    kind = "video" if sample.is_video else "image"
    content = [{"type": kind}, {"type": "text", "text": question.text}]
    chat = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True) + question.answer + END
    frames = sample.frames()
    visual = {"videos": [frames]} if sample.is_video else {"images": [sample.images()[0]]}
    inputs = processor(text=text, **visual, return_tensors="pt")
    answer = processor.tokenizer(question.answer + END, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    return logits[-len(answer) - 1 : -1], inputs
