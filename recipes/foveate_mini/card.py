"""The model card of foveate-mini: what it is, how it was made, what was measured."""

from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from transformers import LlavaOnevisionForConditionalGeneration, __version__

from recipes.foveate_mini.evaluate import Tally
from recipes.foveate_mini.plan import (
    LEAVING,
    LOWEST_KEEP,
    THINNED,
    THINNED_LATE,
    LanguageRecipe,
)

_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# foveate-mini

A vision-language model of {parameters:.2f} million parameters, a test bed for reducing visual
tokens: it runs in a blink on a CPU, and its answers can be checked. It reads and counts coloured
handwritten digits and printed words on dimmed photos, and follows digits through clips of 4 to 16
frames. It knows nothing else, and was never meant to.

Stock `LlavaOnevisionForConditionalGeneration` ({tower_layers}-layer SigLIP, {layers}-layer Qwen2,
width {width}): a 144x144 picture becomes 300 visual tokens (144 of the base view, 156 of one tile
with row ends), a frame of a clip 36.

```python
from transformers import AutoProcessor, LlavaOnevisionForConditionalGeneration

model = LlavaOnevisionForConditionalGeneration.from_pretrained(folder)
processor = AutoProcessor.from_pretrained(folder)
```

## Data

Made by `foveate.scenes`, offline: 1,797 real handwritten digits (scikit-learn
`load_digits`), letters of DejaVu Sans Mono, three photos (scikit-learn's china.jpg and flower.jpg,
matplotlib's grace_hopper.jpg). Train, validation and test share no handwritten glyph and no photo
pixel, and a fifth of the words is printed in the test split only. It is made to be easy:
characters sit on the patch grid with a jitter of a pixel or two, digits and colours of a scene are
distinct, questions come in two wordings each.

## Training

`python -m recipes.foveate_mini --out foveate-mini`: from random weights, {minutes:.0f} minutes in
float32 on {threads} CPU cores (torch {torch}, transformers {transformers}).

{training}

So this model is used to missing visual tokens, more than models are that were trained without
this. It was never trained with merged tokens or with any method of this library.

## Accuracy

Exact match of greedy answers (`generate`) on the test split, bfloat16 weights as shipped, run in
float32, all visual tokens. `word_unseen`: words that no training picture shows.

| questions | right | n | accuracy |
|---|---:|---:|---:|
{rows}
"""

_TRAINING = (
    "The tower learns to name what every patch shows (character, colour, rank from the left and from "
    "the top); the heads that name it are thrown away.",
    "The projector learns to name the same patches in the language model's own words.",
    "Projector and language model learn to answer, the tower frozen. In the first {background:.0%} of "
    "the steps most background tokens were left out, so that there was little to search; the answer "
    "was also asked for at the end of the question, and visual tokens for their part in the scene "
    "(first, last, moving left). **After that, {thinned:.0%} of the steps left out a random part of the "
    "visual tokens (at most {reasoning:.0%}; of clips {video:.0%}, of text {ocr:.0%}). In {leaving:.0%} "
    "of all steps all visual tokens left the sequence after one of the layers {first_leave} to "
    "{last_leave}**, counted from 0 of {layers}. In the last {late:.0%} of the steps, {whole:.0%} kept "
    "them all.",
)


def training_prose(recipe: LanguageRecipe, layers: int) -> str:
    """How the model was trained, in words, from the recipe's own numbers."""
    numbers = dict(
        background=recipe.background_from,
        thinned=THINNED,
        leaving=LEAVING,
        first_leave=layers // 2,
        last_leave=layers - 1,
        layers=layers,
        late=1 - recipe.whole_from,
        whole=1 - THINNED_LATE,
        **{task: 1 - lowest for task, lowest in LOWEST_KEEP.items()},
    )
    return "\n".join(
        fill(f"{place}. {stage.format(**numbers)}", 100, subsequent_indent="   ")
        for place, stage in enumerate(_TRAINING, 1)
    )


def write_card(
    path: Path,
    model: LlavaOnevisionForConditionalGeneration,
    tallies: dict[str, Tally],
    minutes: float,
) -> None:
    """Write the card to `path`.

    Args:
        path: of the README.md.
        model: the exported model.
        tallies: what `evaluate` returned.
        minutes: of training, both stages.
    """
    rows = [
        f"| {'**' + name + '**' if '/' not in name else name} | {tally.right} | {tally.n} "
        f"| {100 * tally.share:.1f} % |"
        for name, tally in tallies.items()
    ]
    config: Any = model.config
    text, vision = config.text_config, config.vision_config
    path.write_text(
        _CARD.format(
            parameters=sum(p.numel() for p in model.parameters()) / 1e6,
            tower_layers=vision.num_hidden_layers,
            layers=text.num_hidden_layers,
            width=text.hidden_size,
            training=training_prose(LanguageRecipe(), text.num_hidden_layers),
            minutes=minutes,
            threads=torch.get_num_threads(),
            torch=torch.__version__.split("+")[0],
            transformers=__version__,
            rows="\n".join(rows),
        )
    )
