"""Make foveate-mini from nothing: data, tower, language model, exported folder, measured accuracy.

    python -m recipes.foveate_mini --out foveate-mini

102 minutes on two CPU cores, by the card of the model that is shipped. Run the same command again
after a kill: it goes on from the last saved step. Needs `pip install "foveate[scenes]"`; downloads
nothing. Where other programs share the cores, set GOMP_SPINCOUNT=30000: threads that spin while they
wait make a step several times slower.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from transformers import AutoProcessor, LlavaOnevisionForConditionalGeneration

from recipes.foveate_mini import align, language, tower
from recipes.foveate_mini.card import write_card
from recipes.foveate_mini.evaluate import evaluate
from recipes.foveate_mini.export import export
from recipes.foveate_mini.model import MiniShape, build
from recipes.foveate_mini.packing import Packer
from recipes.foveate_mini.tokens import build_processor, token_ids


def main() -> None:
    """Parse the command line and run the stages."""
    parser = argparse.ArgumentParser(
        prog="python -m recipes.foveate_mini", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument(
        "--work", type=Path, help="folder of checkpoints and logs; default OUT.work"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tower-steps", type=int, default=tower.TowerRecipe.steps)
    parser.add_argument("--language-steps", type=int, default=language.LanguageRecipe.steps)
    parser.add_argument("--questions", type=int, default=1000, help="test questions a task")
    arguments = parser.parse_args()
    work = arguments.work or arguments.out.with_name(arguments.out.name + ".work")
    torch.set_num_threads(arguments.threads)

    processor = build_processor()
    model = build(MiniShape(), token_ids(processor.tokenizer), seed=0)
    seconds = tower.train(
        model.model.vision_tower, replace(tower.TowerRecipe(), steps=arguments.tower_steps), work
    )
    seconds += align.train(model, processor.tokenizer, align.AlignRecipe(), work)
    seconds += language.train(
        model,
        Packer(processor.tokenizer),
        replace(language.LanguageRecipe(), steps=arguments.language_steps),
        work,
        after_check=lambda step: export(model, processor, work / "export"),
    )
    export(model, processor, arguments.out)

    # What counts is what was written: bfloat16 weights, read back and run in float32.
    written = LlavaOnevisionForConditionalGeneration.from_pretrained(
        arguments.out, dtype=torch.float32
    )
    processor = AutoProcessor.from_pretrained(arguments.out)
    tallies = evaluate(written.eval(), processor, "test", arguments.questions)
    table = {name: asdict(tally) for name, tally in tallies.items()}
    (work / "test.json").write_text(json.dumps(table, indent=1) + "\n")
    write_card(arguments.out / "README.md", written, tallies, seconds / 60)
    sys.stdout.write(json.dumps(table) + "\n")


if __name__ == "__main__":
    main()
