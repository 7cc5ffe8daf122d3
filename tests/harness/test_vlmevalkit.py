"""Against a stand-in with the seam of VLMEvalKit's base class; the kit itself is not on the index."""

import sys
from types import ModuleType

import pytest

from foveate.errors import InputError
from foveate.harness.asking import Asker
from foveate.harness.vlmevalkit import enter
from foveate.measure.tasks import task


class Base:
    """What its BaseModel does with a message before `generate_inner`."""

    allowed_types = ("text", "image")

    def generate(self, message, dataset=None):
        assert all(part["type"] in self.allowed_types for part in message)
        return self.generate_inner(message, dataset)


@pytest.fixture
def kit(monkeypatch):
    names = ("vlmeval", "vlmeval.config", "vlmeval.vlm", "vlmeval.vlm.base")
    modules = {name: ModuleType(name) for name in names}
    modules["vlmeval.config"].supported_VLM = {}
    modules["vlmeval.vlm.base"].BaseModel = Base
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules["vlmeval.config"].supported_VLM


def test_a_model_is_entered_and_asked(kit, tmp_path):
    enter("mini-aim", pretrained="foveate-mini", reduction="aim", keep=0.5, max_new_tokens=12)
    model = kit["mini-aim"](use_vllm=False)
    item = task("reasoning").item(2)
    file = tmp_path / "a.png"
    item.media[0].save(file)
    message = [{"type": "image", "value": str(file)}, {"type": "text", "value": item.question}]
    said = model.generate(message, dataset="any")
    chat = [{"role": "user", "content": [*item.media, item.question]}]
    mine = Asker.of("foveate-mini", reduction="aim", keep=0.5)
    assert said == mine.answer(chat, max_new_tokens=12, do_sample=False)[0]
    assert model.asker.spent == mine.spent
    written = {"method": "aim", "keep": 0.5}  # as a config of the kit has it
    enter("written", pretrained="foveate-mini", reduction=written, max_new_tokens=12)
    assert kit["written"]().asker.reduction == model.asker.reduction
    with pytest.raises(InputError, match="already has a model 'mini-aim'"):
        enter("mini-aim", pretrained="foveate-mini")


def test_without_the_kit():
    with pytest.raises(InputError, match="VLMEvalKit is not installed"):
        enter("x", pretrained="foveate-mini")
