"""Encoder signals: the vision tower's attention and keys, for methods that need them.

Queries and keys of the one layer that makes the chosen features are watched while SDPA does its work
(`watch_attention`); from them come the keys, and the attention that each patch receives, a block of rows
at a time. The family brings both to the visual tokens in the way of its features: pooled, shuffled or
packed.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from foveate.errors import UnsupportedError
from foveate.models.family import Family
from foveate.models.groups import real_patches
from foveate.models.towers import TOWERS, attention_of
from foveate.reduction import Reduction, Shortener
from foveate.report import divide
from foveate.runtime.encoder_rows import EncoderRows
from foveate.runtime.reused import Reused
from foveate.runtime.shortened import Shortened
from foveate.runtime.watch_attention import Watcher

BLOCK = 2**22  # numbers in a block of attention rows
CLASS_TOKEN = tuple(kind for kind, tower in TOWERS.items() if tower.class_token)  # first row [CLS]


class EncoderWatch(threading.local):
    """Watches one model's encoder for a method before the LLM; its state belongs to each thread.

    Attributes:
        shortened: the tower under a method in the encoder, None without one.
        patches: tensors before the projector, of the current encoding, for a method that works there.
        flops: of the attention that was computed for the method, for each image or clip of this encoding;
            with tiles, divided by visual tokens. Empty if none was.
    """

    def __init__(self, family: Family, core: Any, reduction: Reduction) -> None:
        before, encode = reduction.before, reduction.encode
        is_on = before is not None and not before.is_off
        self.family, self.core = family, core
        self.needs = set(before.needs) if before is not None and is_on else set()
        self.at_encoder = before is not None and is_on and before.at == "encoder"
        self.shortened: EncoderRows | None = None
        if encode is not None and not encode.is_off:
            keys = self.at_encoder and "keys" in self.needs
            if isinstance(encode, Shortener):
                self.shortened = Shortened(core, encode, keys=keys)
            else:
                self.shortened = Reused(core, encode, keys=keys)
        self.patches: dict[str, Tensor] = {}
        self.queries_and_keys: list[tuple[Tensor, Tensor, float | None]] = []
        self.flops: list[int] = []

    @property
    def attention(self) -> Any:
        """The attention module to watch, None if the method needs none."""
        if self.at_encoder or not self.needs & {"attention", "keys"}:
            return None
        return attention_of(self.family.vision_layer(self.core))

    def hooks(self) -> Iterator[tuple[nn.Module, Any, bool]]:
        """For methods in and at the encoder: (module, hook, whether it runs after the forward)."""
        if self.shortened is not None:
            yield from self.shortened.hooks()
        if self.at_encoder:
            yield self.family.projector(self.core), self._see_patches, False
        if self.at_encoder and "keys" in self.needs:
            yield self.family.encoder_keys(self.core), self._see_keys, True

    @property
    def shortened_layers(self) -> Iterable[nn.Module]:
        """The vision layers that compute fewer rows, if a method in the encoder has some do so."""
        return () if self.shortened is None else self.shortened.layers

    @property
    def watchers(self) -> Iterator[tuple[nn.Module, Watcher]]:
        """The attention modules to watch, each with what sees its queries and keys."""
        if self.attention is not None:
            yield self.attention, self.see_attention
        if self.shortened is not None:
            for attention in self.shortened.attentions():
                yield attention, self.shortened.see_attention

    @property
    def watched_configs(self) -> list[Any]:
        """The configs of these modules, each once: they are looked at for every token."""
        return list({id(module.config): module.config for module, _ in self.watchers}.values())

    @contextmanager
    def encoding(self, modality: str, arguments: Mapping[str, Any]) -> Iterator[None]:
        """One encoding; arguments as of `encoder_signals`."""
        self.patches, self.queries_and_keys, self.flops = {}, [], []
        if self.shortened is None:
            yield
            return
        packed = self.family.packed(self.core, modality, arguments)
        self.shortened.begin(modality, arguments, packed)
        try:
            yield
        finally:
            self.shortened.end()

    def flops_of(self, groups: Sequence[Int[Tensor, " _"]]) -> tuple[list[int], list[int]]:
        """What the layers of a shortened encoder took in this encoding, and what without the method.

        Args:
            groups: of each image or clip, whose visual tokens say how the FLOPs are divided.
        """
        sizes = [len(entry) for entry in groups]
        if self.shortened is None:
            return [0] * len(sizes), [0] * len(sizes)
        return self.shortened.divided(sizes)

    def encoder_signals(
        self,
        modality: str,
        arguments: Mapping[str, Any],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> dict[str, list[Tensor]]:
        """The signals that the method needs of the last encoding, (n, C) for each image or clip.

        Args:
            modality: "image" or "video".
            arguments: those of the core's `get_image_features` or `get_video_features`.
            groups: for each image or clip, the group's number of each of its visual tokens.

        Raises:
            UnsupportedError: the patches cannot be pooled to the visual tokens.
        """
        if not self.queries_and_keys:
            return {}
        queries, keys, scalings = zip(*self.queries_and_keys, strict=True)
        query, key = torch.cat(queries, dim=2), torch.cat(keys, dim=2)
        if self.shortened is not None:
            query, key = self.shortened.spread_heads(query), self.shortened.spread_heads(key)
        packed = self.family.packed(self.core, modality, arguments)
        lengths = packed or [query.shape[2]]
        has_class = getattr(self.core.config.vision_config, "model_type", "") in CLASS_TOKEN
        kinds = [key[:, :, int(has_class) :].transpose(1, 2).flatten(2)]
        if "attention" in self.needs:
            shared = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)  # by heads
            parts = zip(query.split(lengths, 2), shared.split(lengths, 2), strict=True)
            real = real_patches(modality, arguments)
            received = [
                patch_attention(q, k, scalings[0], has_class=has_class, real=real) for q, k in parts
            ]
            kinds.append(torch.cat(received, dim=1)[..., None].to(key.dtype))
            rows = 1 if has_class else sum(n * n for n in lengths) / sum(lengths)
            # packed: each group is a sequence of its own
            spent = [len(g) if packed is None else _squares(g) for g in groups]
            self.flops = divide(int(2 * query.numel() * rows), spent)
        width = kinds[0].shape[-1]
        pooled = self.family.pool_patches_to_tokens(
            self.core, modality, arguments, torch.cat(kinds, dim=-1).float(), groups
        )
        sizes = [len(entry) for entry in groups]
        if len(pooled) != sum(sizes):
            raise UnsupportedError(
                f"{self.family.model_type}: {kinds[0].shape[:2].numel()} patches cannot "
                f"be pooled to {sum(sizes)} visual tokens"
            )
        signals = {"keys": pooled[:, :width].split(sizes)}
        if "attention" in self.needs:
            signals["attention"] = pooled[:, width].split(sizes)
        return {name: list(signals[name]) for name in signals if name in self.needs}

    def _see_patches(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.patches.setdefault("features", args[0])

    def _see_keys(self, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        short = self.shortened
        self.patches["keys"] = output if short is None else short.spread(output)

    def see_attention(self, query: Tensor, key: Tensor, scaling: float | None) -> None:
        """Take queries and keys (I, H, P, d) of the watched layer."""
        self.queries_and_keys.append((query.detach(), key.detach(), scaling))


def _squares(group: Int[Tensor, " n"]) -> int:
    return int(torch.bincount(group).square().sum())


def patch_attention(
    query: Float[Tensor, "I H P d"],
    key: Float[Tensor, "I H P d"],
    scaling: float | None,
    *,
    has_class: bool,
    real: Bool[Tensor, "I P"] | None = None,
) -> Float[Tensor, "I patches"]:
    """Attention that each patch of I images receives, averaged over heads.

    It is that of [CLS], the first row, where there is one (which is then not a patch); else the mean over
    all patches, as in VisionZip (arXiv 2412.04467, section 3.2) for SigLIP. Patches that are not `real`
    are padding: they neither give attention nor take it.
    """
    images, heads, rows, width = query.shape
    key = key.float() * (width**-0.5 if scaling is None else scaling)
    if has_class:
        return (query[:, :, :1].float() @ key.mT).softmax(-1).mean(1)[:, 0, 1:]
    if real is None:
        real = torch.ones(images, rows, dtype=torch.bool, device=key.device)
    total = key.new_zeros(images, rows)
    step = max(BLOCK // (images * heads * rows), 1)
    for low in range(0, rows, step):
        block = query[:, :, low : low + step].float() @ key.mT
        block.masked_fill_(~real[:, None, None], torch.finfo(block.dtype).min)
        given = real[:, None, low : low + step, None]
        total += (block.softmax(-1) * given).sum((1, 2))
    return total / (heads * real.sum(1, keepdim=True).clamp_min(1))
