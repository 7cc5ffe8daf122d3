"""A plug-in of vLLM's: fewer visual tokens in the engine, for every request or for one.

    vllm serve MODEL --hf-overrides '{"foveate": {"method": "divprune", "keep": 0.25}}'

vLLM finds `register` by the entry point `vllm.general_plugins`. It enters subclasses under the names of
the architectures that are covered; each is the stock model until an engine is started with that one key.
Nothing of vLLM is patched, and a checkpoint stays as it is. `docs/guides/serving.md` says what is
refused, and why.
"""

import os
from typing import Any

from foveate.errors import UnsupportedError

TESTED = "0.32"  # the minor version of vLLM whose insides are known here
UNTESTED = "FOVEATE_VLLM_UNTESTED"
FAMILIES = {
    "LlavaForConditionalGeneration": "llava:FoveateLlava",
    "LlavaNextForConditionalGeneration": "llava_next:FoveateLlavaNext",
    "LlavaOnevisionForConditionalGeneration": "llava_onevision:FoveateLlavaOnevision",
    "Qwen2_5_VLForConditionalGeneration": "qwen2_5_vl:FoveateQwen25VL",
    "Qwen3VLForConditionalGeneration": "qwen3_vl:FoveateQwen3VL",
    "InternVLForConditionalGeneration": "internvl:FoveateInternVL",
    "CompressedForConditionalGeneration": "compressed:FoveateCompressed",  # of `foveate train`
}


def register() -> None:
    """Enter the models; vLLM calls it in each of its processes.

    Raises:
        UnsupportedError: a version of vLLM that was not tested, unless FOVEATE_VLLM_UNTESTED=1 is set.
    """
    import vllm  # pyright: ignore

    check_version(vllm.__version__)  # pyright: ignore
    from vllm import ModelRegistry  # pyright: ignore

    import foveate.models.compressed  # noqa: F401 - transformers then knows such a config.json

    for architecture, place in FAMILIES.items():  # lazy: a text imports nothing until it is served
        ModelRegistry.register_model(architecture, f"{__name__}.{place}")
    _guard_others(ModelRegistry)


def _guard_others(registry: Any) -> None:
    """Let the other architectures that foveate knows in transformers refuse the key, by name."""
    from foveate.models.family import families
    from foveate.serving.vllm.uncovered import STOCK

    for family in families().values():
        name = family.model_class
        if name in registry.models and name not in FAMILIES and name not in STOCK:
            STOCK[name] = registry.models[name]
            registry.register_model(name, f"{__name__}.uncovered:{name}")


def check_version(version: str) -> None:
    """Refuse a version of vLLM that was not tested, unless FOVEATE_VLLM_UNTESTED=1 is set.

    Args:
        version: of vLLM, such as "0.32.0".

    Raises:
        UnsupportedError: otherwise.
    """
    if version.startswith(f"{TESTED}.") or os.environ.get(UNTESTED) == "1":
        return
    raise UnsupportedError(
        f"foveate's plug-in knows vLLM {TESTED}.*, got {version}: install vllm=={TESTED}.*, set "
        f"{UNTESTED}=1 to try this one, or leave the plug-in out by VLLM_PLUGINS (names of those to load)"
    )
