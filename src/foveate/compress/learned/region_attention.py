"""Attention of one query a region to that region's patches, and the compressors built on it.

Source: TokenPacker (arXiv 2407.02392), section 3.2; QueCC (arXiv 2411.03312) has taken it over.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from foveate.compress.learned.regions import RegionCompressor, RegionConfig, regions
from foveate.errors import InputError

EPS = 1e-6  # of layer norms, as published


@dataclass(frozen=True)
class RegionAttentionConfig(RegionConfig):
    """Settings of a compressor that attends within regions.

    Attributes:
        heads: of the attention; must divide the width.
        carry: whether the attention's weighted mean of the patches is added to its output, which starts
            at zero. Training then starts from means of patches, which a trained projector and LLM can
            read; without it they cannot read a compressor's first tokens. Ours: the published modules do
            not.
    """

    heads: int = 8
    carry: bool = False


class RegionAttention(nn.Module):
    """One query a region and question, which attends to that region's patches and to no other.

    The attention of TokenPacker (arXiv 2407.02392) and QueCC (arXiv 2411.03312): keys and values are from
    several vision layers, each through a two-layer MLP and a layer norm.
    """

    def __init__(self, multi_level_width: int, width: int, heads: int) -> None:
        super().__init__()
        if multi_level_width < 1:
            raise InputError(
                "several vision layers are looked at: name them in multi_level_layers, or give their "
                "multi_level_width; got none"
            )
        if heads < 1 or width % heads:
            raise InputError(f"heads must divide the width {width}, got {heads}")
        self.widths = (multi_level_width, width)
        self.key = mlp(multi_level_width, width)
        self.value = mlp(multi_level_width, width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(
        self,
        queries: Float[Tensor, "B q n D"],
        multi_level: Float[Tensor, "B N M"],
        grid: tuple[int, int],
        kernel: int,
        carried: Float[Tensor, "B N D"] | None = None,
    ) -> Float[Tensor, "B q n D"]:
        """Attention of each region's query over its own region.

        Args:
            queries: one a region, for each of q questions.
            multi_level: features that keys and values are made from.
            grid: rows and columns of the patches.
            kernel: side of a region.
            carried: patches whose mean, weighted by the mean attention of all heads, is added.
        """
        keys, is_patch = regions(self.key(multi_level), grid, kernel)
        values, _ = regions(self.value(multi_level), grid, kernel)
        batch = len(queries)
        padding = None if is_patch.all() else ~is_patch.repeat(batch, 1)
        attended, weights = self.attention(
            queries.transpose(1, 2).flatten(0, 1),
            keys.flatten(0, 1),
            values.flatten(0, 1),
            key_padding_mask=padding,
            need_weights=carried is not None,
        )
        if carried is not None:
            attended = attended + weights @ regions(carried, grid, kernel)[0].flatten(0, 1)
        return attended.unflatten(0, (batch, -1)).transpose(1, 2)

    def flops(self, patches: int, regions: int) -> int:
        """FLOPs of all patches' keys and values, and of the attention; a multiply-add counts as 2."""
        wide, width = self.widths
        per_patch = 2 * (wide * width + width**2) + 2 * width**2 + 2 * width
        return 2 * (patches * per_patch + regions * 2 * width**2)


def mlp(inside: int, width: int) -> nn.Sequential:
    """Linear, GELU, linear, layer norm."""
    return nn.Sequential(
        nn.Linear(inside, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width, EPS)
    )


class RegionAttentionCompressor(RegionCompressor):
    """Base of compressors whose queries, one a region, attend to their regions.

    Attributes:
        find: the attention.
    """

    config: RegionAttentionConfig
    find: RegionAttention

    def reset_parameters(self) -> None:
        """Draw all weights anew; with `carry`, the output starts as the carried patches alone."""
        super().reset_parameters()
        if self.config.carry:
            nn.init.zeros_(self.find.attention.out_proj.weight)
            nn.init.zeros_(self.find.attention.out_proj.bias)

    def searching(self) -> list[nn.Parameter]:
        """With `carry`, the weights that decide where to attend; those of the values can wait."""
        if not self.config.carry:
            return super().searching()
        later = ("find.value.", "find.attention.out_proj.")
        return [part for name, part in self.named_parameters() if not name.startswith(later)]

    def _found(
        self,
        queries: Float[Tensor, "B q n D"],
        patches: Float[Tensor, "B N D"],
        multi_level: Float[Tensor, "B N M"] | None,
        grid: tuple[int, int],
    ) -> Float[Tensor, "B q n D"]:
        """The attention of each region's query over its own region, with `carry` on its patches too."""
        levels = self._needed("multi_level", multi_level)
        carried = patches if self.config.carry else None
        return self.find(queries, levels, grid, self.config.kernel, carried)
