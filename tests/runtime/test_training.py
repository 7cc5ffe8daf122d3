"""Trainers around a reduction: transformers' own and TRL's, PEFT's LoRA inside them."""

import datasets
import peft
import pytest
import torch
import trl
from PIL import Image
from transformers import Trainer, TrainingArguments

import foveate
from foveate.combine.aim import AIM
from foveate.testing import tiny
from labels import with_labels

HALF = AIM(0.5, (1, 4))
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"]}
STEPS = 8


@pytest.fixture
def asked():
    """(model, its prompt with labels)."""
    torch.manual_seed(0)
    model, inputs = tiny("llava")
    return model, with_labels(model, inputs)


def settings(kind, folder, **more):
    return kind(
        output_dir=folder, max_steps=STEPS, per_device_train_batch_size=1, learning_rate=1e-2,
        report_to=[], logging_steps=1, save_strategy="no", disable_tqdm=True, use_cpu=True,
        remove_unused_columns=False, seed=0, lr_scheduler_type="constant", **more,
    )  # fmt: skip


def losses_of(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("lora", [False, True], ids=["all", "lora"])
def test_transformers_trainer_learns_through_a_reduction(asked, lora, tmp_path):
    model, inputs = asked
    if lora:
        model = peft.get_peft_model(model, peft.LoraConfig(**LORA))
    with foveate.reduce(model, HALF) as run, torch.no_grad():
        before = model(**inputs).loss
    trainer = Trainer(
        model=model, args=settings(TrainingArguments, tmp_path),
        train_dataset=[inputs] * STEPS, data_collator=lambda every: every[0],
    )  # fmt: skip
    with foveate.reduce(model, HALF) as run:
        trainer.train()
        assert len(run.reports) == STEPS
        assert losses_of(trainer)[0] == pytest.approx(float(before), abs=1e-4)
        model.eval()
        assert float(model(**inputs).loss) < float(before)


def test_trl_fine_tunes_through_a_reduction(tmp_path):
    vlm = foveate.load()
    picture = Image.open(foveate.example())
    asked = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is here?"}]}
    ]
    answered = [{"role": "assistant", "content": [{"type": "text", "text": "a lamp"}]}]
    row = {"images": [picture], "prompt": asked, "completion": answered}
    rows = datasets.Dataset.from_list([row] * STEPS)
    with foveate.reduce(vlm.model, AIM(keep=0.25)) as run:
        trainer = trl.SFTTrainer(
            model=vlm.model, args=settings(trl.SFTConfig, tmp_path, max_length=None),
            train_dataset=rows, processing_class=vlm.processor, peft_config=peft.LoraConfig(**LORA),
        )  # fmt: skip
        trainer.train()
        assert len(run.reports) == STEPS
        assert all(report.fired for report in run.reports)
    assert losses_of(trainer)[-1] < losses_of(trainer)[0] / 2
