"""What is delivered is small, and the model that is built from it is the one that was trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import LlamaConfig, LlamaModel

import foveate
from foveate.errors import InputError
from foveate.scenes import draw, make
from recipes.foveate_smol import __main__ as command
from recipes.foveate_smol import adapter, model
from recipes.foveate_smol.build import DELIVERED, build
from recipes.foveate_smol.evaluate import is_found
from recipes.foveate_smol.model import add_lora, projector_of, tower_of


@pytest.fixture
def trained(fresh, tmp_path):
    """A model whose LoRA does something, in weights that float16 holds, and its adapter."""
    whole = fresh()
    lora = add_lora(whole)
    torch.manual_seed(1)
    for name, part in (tower_of(whole) | projector_of(whole) | lora).items():
        if "lora" in name:
            torch.nn.init.normal_(part, std=0.1)
        part.data = part.data.half().float()
    path = tmp_path / "adapter.safetensors"
    adapter.save(whole, "tiny", path)
    return whole, path


def inputs_of(processor):
    content = [{"type": "image"}, {"type": "text", "text": "what is the heading?"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    picture = draw("documents", "val", 0).images()[0]
    return processor(text=text, images=[picture], return_tensors="pt")


def test_merged_weights_say_what_the_lora_said(trained, base, processor):
    whole, path = trained
    merged = adapter.assemble(path, base)
    assert not any("lora" in name for name, _ in merged.named_modules())
    inputs = inputs_of(processor)
    with torch.no_grad():
        expected, got = whole(**inputs).logits, merged(**inputs).logits
        plain = model.join(base, whole.config.vision_config)
        plain.load_state_dict(
            {name: part for name, part in merged.state_dict().items() if "language" not in name},
            strict=False,
        )
        without = plain(**inputs).logits
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    assert (without - expected).abs().max() > 0.1


def test_the_language_model_itself_is_not_delivered(trained):
    with safe_open(trained[1], "pt") as file:
        names = set(file.keys())
    assert not any("language_model" in name and ".lora_" not in name for name in names)
    assert not any("lm_head" in name for name in names)


def test_what_is_delivered_for_smollm2_is_below_12_mb():
    """Counted on the shapes of SmolLM2-135M and of foveate-mini's tower."""
    with torch.device("meta"):
        llm = LlamaModel(
            LlamaConfig(
                vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
                num_attention_heads=9, num_key_value_heads=3, head_dim=64,
            )
        )  # fmt: skip
        whole = torch.nn.Module()
        whole.model = torch.nn.Module()
        whole.model.language_model = llm
        lora = add_lora(whole)
    mini = foveate.load().model
    width = mini.config.vision_config.hidden_size
    projector = (width + 1) * 576 + (576 + 1) * 576 + 576
    count = sum(part.numel() for part in (*lora.values(), *tower_of(mini).values())) + projector
    assert len(lora) == 2 * 7 * 30
    assert 2 * count + 100_000 < adapter.LARGEST  # and the names


def test_the_delivered_file_is_below_12_mb_too():
    assert DELIVERED.stat().st_size < adapter.LARGEST


@pytest.mark.slow
def test_the_delivered_model_sees(wheel, tmp_path):
    build(tmp_path / "smol", DELIVERED, wheel)
    vlm = foveate.load(tmp_path / "smol", device="cpu")
    right = 0
    for index in range(8):
        shown = draw("texture", "test", index)
        (light,) = [one for one in shown.ask(np.random.default_rng(0)) if one.family == "brightest"]
        right += is_found(light.answer, vlm.ask(shown.images()[0], light.text).text)
    assert right >= 7  # by chance one or two


def test_a_larger_one_is_refused_and_not_left_behind(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(adapter, "LARGEST", 1000)
    path = tmp_path / "large.safetensors"
    with pytest.raises(InputError, match="below 1000 bytes; got"):
        adapter.save(trained[0], "tiny", path)
    assert not list(tmp_path.glob("large*"))


def test_an_adapter_fits_one_language_model(trained, base, tmp_path):
    with pytest.raises(InputError, match="fits the language model tiny; got other"):
        adapter.assemble(trained[1], replace(base, mark="other"))
    with pytest.raises(InputError, match=r"no adapter at .*nowhere.*--adapter"):
        adapter.assemble(tmp_path / "nowhere", base)


def test_a_built_model_loads_answers_and_is_reduced(trained, base, processor, tmp_path):
    folder = tmp_path / "smol"
    build(folder, trained[1], base)
    assert "SmolLM2" in (folder / "README.md").read_text()
    vlm = foveate.load(folder, device="cpu")
    assert vlm.model.generation_config.max_new_tokens == 48
    merged = adapter.assemble(trained[1], base).state_dict()
    for name, value in vlm.model.state_dict().items():
        assert torch.equal(value, merged[name].bfloat16().float()), name
    picture = draw("screens", "val", 0).images()[0]
    whole = vlm.ask(picture, "what is the title?", max_new_tokens=4)
    assert isinstance(whole.text, str)
    half = vlm.ask(
        picture, "what is the title?", foveate.FastV(after=(1,), keep=0.5), max_new_tokens=4
    )
    assert half.report is not None
    clip = make("video", "val", 0, length=4).images()
    vlm.ask([np.stack(clip)], "which digit moves?", max_new_tokens=2)
    with foveate.reduce(vlm.model, foveate.AIM(keep=0.5, prune=(1, 3))), torch.no_grad():
        out = vlm.model.generate(**inputs_of(vlm.processor), max_new_tokens=3)
    assert out.shape[0] == 1


def test_the_command_says_in_one_line_what_is_missing(base, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "from_wheel", lambda: base)
    line = ["smol", "build", str(tmp_path / "smol"), "--adapter", str(tmp_path / "nowhere")]
    monkeypatch.setattr(command.sys, "argv", line)
    with pytest.raises(SystemExit, match="no adapter at"):
        command.main()
    assert not (tmp_path / "smol").exists()


def test_the_command_builds(trained, base, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "from_wheel", lambda: base)
    line = ["smol", "build", str(tmp_path / "smol"), "--adapter", str(trained[1])]
    monkeypatch.setattr(command.sys, "argv", line)
    command.main()
    assert "built" in capsys.readouterr().out
    assert (tmp_path / "smol" / "model.safetensors").exists()
