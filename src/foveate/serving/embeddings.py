"""Visual tokens made outside of a server that takes image embeddings (vLLM's `--enable-mm-embeds`).

What no server's plug-in can do, this can: a compressor that reads the LLM's own hidden state of the
question runs here, in transformers, and the server is sent what is left of a picture.
"""

import base64
import inspect
import io
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from foveate.ask.vlm import VLM, Source
from foveate.errors import UnsupportedError


def picture_embeddings(
    vlm: VLM, pictures: Source | Sequence[Source], question: str
) -> list[Float[Tensor, "n D"]]:
    """The visual tokens of pictures, as the LLM reads them.

    Args:
        vlm: what `foveate.load` gives of the checkpoint that the server has, too; with a learned
            compressor its tokens are what is left.
        pictures: as `vlm.ask` takes them; no clips.
        question: that they are asked, which a compressor may look at.

    Returns:
        Of each picture (n, width of the LLM).

    Raises:
        InputError: as of `vlm.ask`.
        UnsupportedError: clips, or a model whose tokens have positions on a grid: a server must be told
            these, too.
    """
    inputs = vlm.inputs(pictures, question)
    if "pixel_values" not in inputs or any(name.endswith("_grid_thw") for name in inputs):
        raise UnsupportedError(
            "embeddings are made of pictures, for models whose tokens have no grid, such as LLaVA; got "
            f"{', '.join(inputs)} of a {vlm.family.model_type}"
        )
    encode: Any = vlm.model.model.get_image_features
    taken = inspect.signature(encode).parameters
    with torch.no_grad():
        output = encode(**{name: value for name, value in inputs.items() if name in taken})
    return list(output.pooler_output)


def image_part(embeddings: Float[Tensor, "n D"]) -> dict[str, str]:
    """A picture's tokens as a part of a chat message to vLLM's server, in the place of its picture.

    Args:
        embeddings: of `picture_embeddings`.
    """
    file = io.BytesIO()
    torch.save(embeddings.cpu(), file)
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "image_embeds", "image_embeds": data}
