"""Two stages of transformers' Trainer, resumed where a killed run in the same folder stopped."""

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlavaOnevisionForConditionalGeneration,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from foveate.ask.vlm import load
from foveate.errors import InputError, MissingExtraError
from foveate.models.compressed import (
    CompressedForConditionalGeneration,
    CompressedProcessor,
    with_compressor,
)
from foveate.records.conditions import installed
from foveate.train.collate import Collator
from foveate.train.data import Data
from foveate.train.settings import RECORD, Recipe, Stage, claim
from foveate.train.sources import read

LOG = logging.getLogger(__name__)


def train(recipe: Recipe, out: Path, callbacks: list[TrainerCallback] | None = None) -> Path:
    """Train a compressor into a model; after a kill the same call resumes where it stopped.

    Args:
        recipe: what to train, on what, for how long.
        out: folder of the finished checkpoint; `out/stage-1` and `out/stage-2` hold intermediate ones.
        callbacks: of transformers' Trainer, added to our own.

    Returns:
        `out`, which `foveate.load` and the Auto classes load.

    Raises:
        InputError: data that cannot be trained on, settings that do not fit, another training in `out`.
        MissingExtraError: accelerate or TensorBoard are not installed.
    """
    for package in ("accelerate", "tensorboard"):
        if installed(package) is None:
            raise MissingExtraError(f"foveate train ({package})", "train")
    data = read(recipe.data, None if recipe.images is None else Path(recipe.images))
    claim(out, recipe, data.hash)
    model, processor = _start(recipe, out)
    for number, stage in enumerate(recipe.stages, start=1):
        folder = out / f"stage-{number}"
        if (folder / "done").exists():
            LOG.info("stage %d is done already: %s", number, folder)
        elif stage.epochs:
            _train_stage(model, processor, data, recipe, stage, folder, callbacks or [])
        if (folder / "done").exists():
            model = CompressedForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    if _is_main():
        model.save_pretrained(out)
        processor.save_pretrained(out)
    return out


def _start(
    recipe: Recipe, out: Path
) -> tuple[CompressedForConditionalGeneration, CompressedProcessor]:
    """The model before its first step; the compressor's weights depend on the seed alone."""
    stock = load(recipe.model, device="cpu", dtype=torch.float32)
    if not isinstance(stock.model, LlavaOnevisionForConditionalGeneration) or isinstance(
        stock.model, CompressedForConditionalGeneration
    ):
        raise InputError(
            f"a compressor is put into a stock LLaVA-OneVision, got {type(stock.model).__name__}"
        )
    torch.manual_seed(recipe.seed)
    model = with_compressor(
        stock.model,
        compressor=dict(recipe.compressor),
        multi_level_layers=list(recipe.multi_level_layers),
        query_encoding=recipe.query_encoding,
        views=recipe.views,
    )
    return model, CompressedProcessor.of(stock.processor, model.config)


def _train_stage(
    model: CompressedForConditionalGeneration,
    processor: CompressedProcessor,
    data: Data,
    recipe: Recipe,
    stage: Stage,
    folder: Path,
    callbacks: list[TrainerCallback],
) -> None:
    core = model.model
    model.requires_grad_(False)
    for module in (core.compressor, core.multi_modal_projector):
        module.requires_grad_(True)
    if stage.llm:
        core.language_model.requires_grad_(True)
        model.lm_head.requires_grad_(True)
    model.config.use_cache = False
    trainer = Trainer(
        model=model,
        args=_arguments(recipe, stage, folder),
        train_dataset=data.examples,  # type: ignore[arg-type]
        data_collator=Collator(processor, processor.counts, recipe.seed),
        processing_class=processor,
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


def _arguments(recipe: Recipe, stage: Stage, folder: Path) -> TrainingArguments:
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


def _is_main() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


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
