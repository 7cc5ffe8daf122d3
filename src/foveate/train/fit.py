"""One stage of training by transformers' Trainer, resumed where a killed run in its folder stopped."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from foveate.errors import MissingExtraError
from foveate.records.conditions import installed
from foveate.train.data import Example
from foveate.train.settings import RECORD, Schedule, Stage

LOG = logging.getLogger(__name__)


def needs(*packages: str) -> None:
    """Check that packages are there.

    Raises:
        MissingExtraError: one is not.
    """
    for package in packages:
        if installed(package) is None:
            raise MissingExtraError(f"foveate train ({package})", "train")


def fit(
    model: Any,
    examples: Sequence[Example],
    collator: Callable[[Sequence[Example]], dict[str, torch.Tensor]],
    recipe: Schedule,
    stage: Stage,
    folder: Path,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Train what of a model requires gradients, and leave its weights in `folder`.

    Args:
        model: a transformers model, or PEFT's around one.
        examples: what it is trained on.
        collator: makes the tensors of one step from some of them.
        recipe: batches, precision, how often is saved.
        stage: passes and learning rate.
        folder: of checkpoints, logs and the trained weights; inside the training's own.
        callbacks: of transformers' Trainer, added to our own.
    """
    model.config.use_cache = False
    trainer = Trainer(
        model=model,
        args=_arguments(recipe, stage, folder),
        train_dataset=examples,  # type: ignore[arg-type]
        data_collator=collator,  # type: ignore[arg-type]
        callbacks=[_Record(folder.parent), *callbacks],
    )
    for loud in (ProgressCallback, PrinterCallback):  # they write to stdout
        trainer.remove_callback(loud)
    trainer.add_callback(_Bar)
    last = get_last_checkpoint(folder) if folder.exists() else None
    if last is not None:
        LOG.info("goes on from %s", last)
    trainer.train(resume_from_checkpoint=last)
    model.config.use_cache = True
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        (folder / "log.json").write_text(json.dumps(trainer.state.log_history, indent=1) + "\n")
        (folder / "done").write_text(json.dumps(asdict(stage)) + "\n")
    trainer.accelerator.wait_for_everyone()


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _arguments(recipe: Schedule, stage: Stage, folder: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=stage.epochs,
        per_device_train_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulate,
        learning_rate=stage.peak,
        lr_scheduler_type="cosine",
        warmup_steps=recipe.warmup,
        weight_decay=recipe.weight_decay,
        bf16=recipe.bf16,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=recipe.save_every,
        save_total_limit=2,
        report_to=["tensorboard"],
        remove_unused_columns=False,
        seed=recipe.seed,
        data_seed=recipe.seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        ddp_find_unused_parameters=True,
    )


class _Record(TrainerCallback):
    """Puts the full recipe and the data's hash into every checkpoint."""

    def __init__(self, out: Path) -> None:
        self.record = out / RECORD

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            shutil.copy(self.record, Path(args.output_dir) / f"checkpoint-{state.global_step}")


class _Bar(ProgressCallback):
    """Transformers' progress bar with the time left; logs go to stderr too."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and self.training_bar is not None and logs:
            shown = {key: value for key, value in logs.items() if key in ("loss", "learning_rate")}
            self.training_bar.set_postfix(shown, refresh=False)
