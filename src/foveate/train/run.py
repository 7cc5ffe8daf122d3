"""Two stages of transformers' Trainer, resumed where a killed run in the same folder stopped."""

import logging
from pathlib import Path

import torch
from transformers import LlavaOnevisionForConditionalGeneration, TrainerCallback

from foveate.ask.vlm import load
from foveate.errors import InputError
from foveate.models.compressed import (
    CompressedForConditionalGeneration,
    CompressedProcessor,
    with_compressor,
)
from foveate.train.collate import Collator
from foveate.train.fit import fit, is_main, needs
from foveate.train.settings import Recipe, Stage, claim
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
    needs("accelerate", "tensorboard")
    data = read(recipe.data, None if recipe.images is None else Path(recipe.images))
    claim(out, recipe, data.hash)
    model, processor = _start(recipe, out)
    for number, stage in enumerate(recipe.stages, start=1):
        folder = out / f"stage-{number}"
        if (folder / "done").exists():
            LOG.info("stage %d is done already: %s", number, folder)
        elif stage.epochs:
            _prepare(model, stage)
            collator = Collator(processor, processor.counts, recipe.seed)
            fit(model, data.examples, collator, recipe, stage, folder, callbacks or [])
        if (folder / "done").exists():
            model = CompressedForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    if is_main():
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


def _prepare(model: CompressedForConditionalGeneration, stage: Stage) -> None:
    """Train what the stage trains, and nothing else."""
    core = model.model
    model.requires_grad_(False)
    for module in (core.compressor, core.multi_modal_projector):
        module.requires_grad_(True)
    if stage.llm:
        core.language_model.requires_grad_(True)
        model.lm_head.requires_grad_(True)
