"""Several questions about one picture: each as if asked alone, its pictures read once."""

import pytest
import torch

import foveate
from foveate.ask.many import generate_from, shared_tokens
from foveate.combine.aim import AIM
from foveate.errors import InputError
from foveate.models.family import families, family_of
from foveate.testing import GREEDY, tiny

QUESTIONS = ["how many digits are there?", "how many reds are there?", "what is it?"]
SHARED = {
    "off": foveate.Reduction(),
    "merge": AIM(0.25, None),
    "fovea": foveate.create("fovea-merge", keep=0.25),
}
ALONE = {"prune": AIM(1.0), "cdpruner": foveate.create("cdpruner", keep=0.25)}


@pytest.fixture(scope="module")
def vlm():
    """foveate-mini."""
    return foveate.load()


@pytest.mark.parametrize("reduction", {**SHARED, **ALONE}.values(), ids={**SHARED, **ALONE})
def test_each_answer_is_as_if_asked_alone(vlm, reduction):
    picture = foveate.example()
    together = vlm.ask_many(picture, QUESTIONS, reduction)
    alone = [vlm.ask(picture, question, reduction) for question in QUESTIONS]
    assert [answer.text for answer in together] == [answer.text for answer in alone]
    is_shared = reduction in SHARED.values()
    assert len({id(answer.report) for answer in together}) == (1 if is_shared else len(QUESTIONS))
    for one, other in zip(together, alone, strict=True):
        assert one.report.visual_tokens_to_llm == other.report.visual_tokens_to_llm


@pytest.mark.parametrize("name", families())
@pytest.mark.parametrize("reduction", SHARED.values(), ids=SHARED)
def test_every_family_goes_on_from_what_is_shared(name, reduction):
    model, inputs = tiny(name)
    tails = torch.tensor([[10, 11, 12], [10, 13, 12]])
    prompts = [with_tail(inputs, tail[None]) for tail in tails]
    count = shared_tokens(model, family_of(model), prompts, reduction)
    blocks = family_of(model).blocks(prompts[0])
    if blocks is not None and blocks[0, -1] >= 0:  # it reads its prompt both ways, to the end
        assert not count
        return
    assert count == inputs["input_ids"].shape[1] + 1
    with torch.no_grad(), foveate.reduce(model, reduction) as run:
        together = generate_from(model, prompts, count, GREEDY)
        assert len(run.reports) == 1
        for prompt, tokens in zip(prompts, together, strict=True):
            alone = model.generate(**prompt, **GREEDY)[0, prompt["input_ids"].shape[1] :]
            assert alone.tolist() == tokens.tolist()


def with_tail(inputs, tail):
    """A prompt with more text behind its own."""
    shape, longer = inputs["input_ids"].shape, dict(inputs)
    for name, value in inputs.items():
        if value.shape[:2] == shape and value.dim() == 2:
            more = {"input_ids": tail, "attention_mask": torch.ones_like(tail)}
            longer[name] = torch.cat([value, more.get(name, torch.zeros_like(tail))], dim=1)
    return longer


def test_no_question_is_one_clear_error(vlm):
    for wrong in ([], "what?"):
        with pytest.raises(InputError, match="questions must be a list of at least 1"):
            vlm.ask_many(foveate.example(), wrong)
    with pytest.raises(InputError, match="the question is empty"):
        vlm.ask_many(foveate.example(), ["what?", " "])
