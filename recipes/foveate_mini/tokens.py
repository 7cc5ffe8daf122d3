"""The tokenizer and processor of foveate-mini: stock classes, a few hundred tokens.

A byte-level BPE learnt from the question templates, so that a template word is one token and any
other text still falls back to bytes. Digits and capital letters are never merged: numbers and
printed words are answered character by character.
"""

from collections.abc import Iterator
from string import Formatter

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
)

from foveate.scenes.clips import DIRECTIONS
from foveate.scenes.phrasing import WORDINGS
from foveate.scenes.sample import COLOUR_NAMES, GRID, SIZE

IMAGE, VIDEO, START, END = "<image>", "<video>", "<|im_start|>", "<|im_end|>"
HEADER = f"{START}user\n"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] != 'text' %}"
    "{{ '<' + part['type'] + '>\n' }}"
    "{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    "{{ '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_VOCABULARY_LIMIT = 640


def turn(question: str) -> str:
    """All of a turn that follows the picture, up to where the answer starts."""
    return f"\n{question}{END}\n{START}assistant\n"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Learn the tokenizer; the same every time."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[0-9A-Z]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY_LIMIT,
        special_tokens=[END, START, IMAGE, VIDEO],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END,
        additional_special_tokens=[START, IMAGE, VIDEO],
        model_max_length=2048,
        padding_side="left",
    )


def build_processor(tokenizer: PreTrainedTokenizerFast | None = None) -> LlavaOnevisionProcessor:
    """The processor that goes with the model: keeps a 144x144 picture as it is.

    Args:
        tokenizer: of another language model, with the same marks; by default foveate-mini's.
    """
    pixels = {
        "size": {"height": SIZE, "width": SIZE},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    return LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(image_grid_pinpoints=[[SIZE, SIZE]], **pixels),
        video_processor=LlavaOnevisionVideoProcessor(**pixels),
        tokenizer=tokenizer or build_tokenizer(),
        num_image_tokens=GRID * GRID,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
        chat_template=CHAT_TEMPLATE,
    )


def token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """What `model.build` needs to know about the tokenizer."""
    names = {"image": IMAGE, "video": VIDEO, "start": START, "end": END}
    vocabulary = tokenizer.get_vocab()
    ids = {name: vocabulary[token] for name, token in names.items()}
    return ids | {"vocabulary": len(tokenizer)}


def _texts() -> Iterator[str]:
    """What the tokenizer learns from: each template with each colour, and the short answers."""
    for wording in WORDINGS.values():
        for question in wording.questions:
            fields = [name for _, name, _, _ in Formatter().parse(question) if name]
            for colour in COLOUR_NAMES:
                yield question.format(**dict.fromkeys(fields, colour))
    answers = (*COLOUR_NAMES, *DIRECTIONS, "yes", "no", "user", "assistant", "system", "\n")
    # Twice: a pair seen once only may be left unmerged.
    yield from (*answers, *answers)
