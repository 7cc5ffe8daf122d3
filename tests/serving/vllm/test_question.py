"""The question in a rendered prompt; this needs no vLLM."""

import pytest
from jinja2 import Template

from foveate.errors import InputError
from foveate.models.compressed.processor import current_question
from foveate.serving.vllm.question import around, question_in

CHATML = Template(
    "{% for m in messages %}"
    "{% if loop.first and m.role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m.role }}\n{% for part in m.content %}"
    "{{ part.text if part.type == 'text' else '<image>\n' }}{% endfor %}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)
PLAIN = Template(
    "{% for m in messages %}{{ m.role }}: {% for part in m.content %}"
    "{{ part.text if part.type == 'text' else '<image>' }}{% endfor %} {% endfor %}assistant:"
)
TEMPLATES = {"chatml": CHATML, "plain": PLAIN}
QUESTION = "How many are there,\nand where?"


def said(role, text, *, picture=False):
    parts = [{"type": "image"}] if picture else []
    return {"role": role, "content": [*parts, {"type": "text", "text": text}]}


TALKS = [
    [said("user", QUESTION, picture=True)],
    [said("user", "What is it?", picture=True), said("assistant", "A 7."), said("user", QUESTION)],
    [said("system", "Be brief."), said("user", QUESTION, picture=True)],
]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("talk", TALKS, ids=["first", "later", "system"])
def test_it_is_the_one_that_a_compressor_is_trained_with(name, talk):
    def render(conversation):
        return TEMPLATES[name].render(messages=conversation)

    prompt = render(talk).replace("<image>", "")
    assert question_in(prompt, *around(render)) == QUESTION == current_question(talk)


@pytest.mark.parametrize(
    "prompt",
    ["", "how many?", "user: how many?", "user: how many? assistant: 7", "user:  assistant:"],
)
def test_a_prompt_by_hand_is_refused(prompt):
    with pytest.raises(InputError, match=r"not found .* give it as mm_processor_kwargs"):
        question_in(prompt, "user: ", " assistant:")


def test_a_template_that_marks_no_turns_finds_nothing():
    with pytest.raises(InputError, match="not found"):
        question_in("how many?", *around(lambda talk: talk[-1]["content"][0]["text"]))
