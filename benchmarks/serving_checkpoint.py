"""A LLaVA-1.5 with random weights, large enough that visual tokens are what a server waits for.

    python benchmarks/serving_checkpoint.py /tmp/llava

576 visual tokens; a tower of 2 layers, so that it is the LLM that costs, as with a large one.
"""

import argparse
import sys
from pathlib import Path

import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SIDE, PATCH = 336, 14
SPECIAL = ["<pad>", "<image>", "</s>"]
TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{{ part['text'] if part['type'] == 'text' else '<image>' }}{% endfor %}{% endif %} {% endfor %}"
)


def tokenizer() -> hf.PreTrainedTokenizerFast:
    """Bytes, and nothing else."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["what is in the picture?"], trainer)
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>")


def config(width: int, layers: int) -> hf.LlavaConfig:
    """An LLM of so many layers, with heads of 64, and a small tower."""
    return hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(
            hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
            image_size=SIDE, patch_size=PATCH, projection_dim=128,
        ),
        text_config=hf.LlamaConfig(
            hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
            num_attention_heads=width // 64, num_key_value_heads=width // 64, vocab_size=320,
            max_position_embeddings=4096, pad_token_id=0, bos_token_id=None, eos_token_id=2,
        ),
        image_token_index=1,
    )  # fmt: skip


def save(folder: Path, width: int, layers: int) -> int:
    """Write model and processor as vLLM loads them; how many parameters it has."""
    torch.manual_seed(0)
    model = hf.LlavaForConditionalGeneration(config(width, layers))
    model.save_pretrained(folder)
    file = folder / "model.safetensors"
    # transformers 5 writes `vision_tower.encoder...`; the hub's files, and vLLM, have one level more
    old, new = "vision_tower.", "vision_tower.vision_model."
    weights = {
        name if new in name else name.replace(old, new): value
        for name, value in load_file(file).items()
    }
    save_file(weights, file, {"format": "pt"})
    hf.LlavaProcessor(
        hf.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE), tokenizer(),
        patch_size=PATCH, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return sum(value.numel() for value in weights.values())


def main() -> None:
    """Parse and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=6)
    arguments = parser.parse_args()
    count = save(arguments.folder, arguments.width, arguments.layers)
    sys.stdout.write(f"{arguments.folder}: {count / 1e6:.0f} million parameters\n")


if __name__ == "__main__":
    main()
