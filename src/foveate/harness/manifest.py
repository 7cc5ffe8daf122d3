"""What lmms-eval finds through the entry-point group `lmms_eval.models`."""

from typing import Any


def manifests() -> list[Any]:
    """The model `foveate`: `--model foveate --model_args pretrained=...,reduction=aim,keep=0.25`."""
    from lmms_eval.models.registry_v2 import (  # pyright: ignore[reportMissingImports]
        ModelManifest,
    )

    return [ModelManifest(model_id="foveate", chat_class_path="foveate.harness.lmms.Foveate")]
