"""QueCC: the question is added to every patch; a strided convolution makes one query of each region.

Source: Inference Optimal VLMs Need Fewer Visual Tokens and More Parameters (arXiv 2411.03312), section 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from foveate.compress.learned.base import Grid, as_grid, register_learned
from foveate.compress.learned.region_attention import (
    EPS,
    RegionAttention,
    RegionAttentionCompressor,
    RegionAttentionConfig,
    mlp,
)
from foveate.compress.learned.regions import plane
from foveate.errors import InputError

# the published module's names of its parts, and ours
OURS = {
    "text_projection.": "text.",
    "q_proj.": "query.",
    "q_downsample.": "pool.",
    "k_proj.": "find.key.",
    "v_proj.": "find.value.",
    "clip_attn.": "find.attention.",
}


@dataclass(frozen=True)
class QueCCConfig(RegionAttentionConfig):
    """Settings of QueCC.

    Attributes:
        text_gain: scale of the question's vector when training starts. The published 1 suits features of
            about that scale; larger ones would drown the question.
        contrast: whether the question's vector is standardized: each feature less its mean over
            questions, over its standard deviation. Without it, the words that all questions share drown
            the one that matters. Ours: the published module does not.
    """

    text_gain: int | float = 1.0
    contrast: bool = False


@register_learned("quecc", config=QueCCConfig, paper="2411.03312")
class QueCC(RegionAttentionCompressor):
    """One token a region, found by a query that is the question and the region's patches together.

    A region that the kernel cuts short (see `foveate.compress.learned.regions`) has its edge patches
    again in the convolution, and only its own patches in the attention.
    """

    def __init__(self, config: QueCCConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.text = self.contrast = None
        if config.text_width:
            self.text = nn.Sequential(nn.Linear(config.text_width, width), nn.LayerNorm(width, EPS))
            if config.contrast:
                self.contrast = nn.BatchNorm1d(config.text_width, affine=False)
        self.query = mlp(width, width)
        self.pool = nn.Conv2d(width, width, config.kernel, stride=config.kernel, groups=width)
        self.find = RegionAttention(config.multi_level_width, width, config.heads)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew; the convolution starts as the mean of its region."""
        super().reset_parameters()
        nn.init.constant_(self.pool.weight, 1 / self.config.kernel**2)
        nn.init.zeros_(self.pool.bias)  # type: ignore[arg-type]
        if self.text is not None:
            nn.init.constant_(self.text[1].weight, self.config.text_gain)  # type: ignore[arg-type]

    @property
    def needs(self) -> tuple[str, ...]:
        """Several vision layers, and the question unless `text_width` is 0."""
        return ("multi_level", "text") if self.text else ("multi_level",)

    def forward(
        self,
        patches: Float[Tensor, "B N D"],
        multi_level: Float[Tensor, "B N M"] | None = None,
        text: Float[Tensor, "B q T"] | None = None,
        *,
        grid: Grid | None = None,
        tokens: int | None = None,
    ) -> Float[Tensor, "B n D"]:
        """One token a region; for several questions, the tokens of each question in turn."""
        place, kernel = self._place(patches, grid), self.config.kernel
        self.count(place, tokens)
        inputs = patches[:, None]
        if self.text is not None:
            question = self._contrasted(self._needed("text", text))
            inputs = inputs + self.text(question)[:, :, None]
        queries = plane(self.query(inputs).flatten(0, 1), place, kernel, "replicate")
        pooled = self.pool(queries).flatten(2).mT.unflatten(0, inputs.shape[:2])
        return self._found(pooled, patches, multi_level, place).flatten(1, 2)

    def _contrasted(self, question: Float[Tensor, "B q T"]) -> Float[Tensor, "B q T"]:
        """The questions, standardized with `contrast`; one alone by the running statistics."""
        if self.contrast is None:
            return question
        if question.shape[:2].numel() > 1:
            return self.contrast(question.mT).mT
        mean, deviation = self.contrast.running_mean, self.contrast.running_var
        return F.batch_norm(question.mT, mean, deviation, eps=self.contrast.eps).mT

    def flops(self, grid: Grid | None = None, tokens: int | None = None) -> int:
        """FLOPs of one tile; a multiply-add counts as 2."""
        rows, columns = as_grid(grid or self.config.grid)
        patches, width = rows * columns, self.config.width
        queries = patches * (2 * width**2 + width)
        found = self.find.flops(patches, self.count(grid, tokens))
        return 2 * (queries + self.config.text_width * width) + found


def convert_reference_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a state dict of the authors' module for `QueCC.load_state_dict`.

    Args:
        state: their weights, alone or within a whole checkpoint: prefixes are cut off, and weights of
            other modules are left out.

    Raises:
        InputError: a part of the module is missing.
    """
    anchor = "q_downsample.weight"
    prefixes = {name.removesuffix(anchor) for name in state if name.endswith(anchor)}
    if len(prefixes) != 1:
        raise InputError(
            f"a state of the published QueCC has one tensor named {anchor}, got {len(prefixes)} "
            f"among {len(state)} tensors"
        )
    (prefix,) = prefixes
    found: dict[str, Tensor] = {}
    for theirs, ours in OURS.items():
        start = prefix + theirs
        part = {ours + k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
        if not part:
            raise InputError(f"the state has no weights of {theirs.rstrip('.')}")
        found |= part
    return found
