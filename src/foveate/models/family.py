"""What foveate must know of a model family, and the table of families.

All of it is told by transformers' own conventions (`rules`, `groups`, `towers`): a family that keeps
them is a row of `named`, and one that nobody has named works all the same. What another must say is a
module of this package with a subclass under `register_family`; nothing else is edited. Stock models are
`Any` here: their attributes are transformers' and known to no type checker.
"""

import copy
import importlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from foveate.errors import UnsupportedError
from foveate.models import groups as by_name
from foveate.models import rules, towers
from foveate.models.scope import OUT_OF_SCOPE
from foveate.models.tiny import Picture, prompt, stacked
from foveate.models.tiny.models import TINY, TinyModel
from foveate.registry import decorated

MERGES_LATE = "{} merges at the LLM's input only; use at='llm'"
NO_KEYS = "{} offers no encoder keys; use metric='features'"
EXTRA_FLOPS = (
    "foveate_extra_flops"  # on an encoding, for each question the FLOPs that reading it took
)


class Family:
    """One model family, as `model.config.model_type` names it; by default as the rules have it.

    What it says of itself is known without a model; `foveate.testing.check_family_is_as_stated` sees that
    it is so. Transformers' modelling code is imported where it is used, for listing families needs none.

    Attributes:
        model_type: transformers' name of it.
        model_class: name of the transformers class.
        modalities: of `placeholders`.
        merge_at: where methods before the LLM can work: "llm"; "encoder" where there is a `projector`;
            "encoder keys" where there are `encoder_keys`.
        grid_positions: whether visual tokens have positions of their own on a grid (M-RoPE). They keep
            them when others are merged away; elsewhere merging renumbers the sequence.
        token_types: name of the input that tells text, image and video tokens apart, if it takes one.
        llm_arguments: what the LLM is handed beside what every LLM is.
        clips_as_images: whether clips stand in `input_ids` as image tokens; token types tell them apart.
        has_cost: whether `foveate.cost.vision` tells what its pictures cost from its config alone.
        unwatched: why the encoder's attention and keys are not to be had; "" where they are, if `towers`
            knows its tower or `vision_layer` is written.
        refuses: what some of its checkpoints refuse, in a few words.
        since: first minor version of transformers that has it as it is here; "" for all that are tested.
    """

    model_type: str = ""
    model_class: str = ""
    modalities: tuple[str, ...] = ("image",)
    merge_at: tuple[str, ...] = ("llm",)
    grid_positions: bool = False
    token_types: str | None = None
    llm_arguments: tuple[str, ...] = ()
    clips_as_images: bool = False
    has_cost: bool = True
    unwatched: str = ""
    refuses: str = ""
    since: str = ""

    def __init__(self, **stated: Any) -> None:
        """A family that the rules alone carry.

        Args:
            **stated: attributes, where they are not as in the class.
        """
        vars(self).update(stated)

    def placeholders(self, config: Any) -> dict[str, int]:
        """Placeholder token of each modality ("image", "video") that the family takes."""
        names = {kind: "image" if self.clips_as_images else kind for kind in self.modalities}
        tokens = {kind: rules.placeholder(config, name) for kind, name in names.items()}
        return {kind: token for kind, token in tokens.items() if token is not None}

    def groups(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        pooled: Tensor | Sequence[Tensor],
    ) -> list[Int[Tensor, " _"]]:
        """For each entry of `pooled`, the tile or frame that each of its tokens belongs to, from 0.

        By default as `foveate.models.groups` tells it by the names of the arguments.

        Args:
            core: the model without its head (`model.model`).
            modality: "image" or "video".
            arguments: of the core's `get_image_features` or `get_video_features`.
            pooled: features that these returned, one entry (n, D) an image, clip or sample.
        """
        return by_name.groups_of(core, modality, arguments, pooled)

    def language_model(self, core: Any) -> Any:
        """The LLM, whose `layers` are its decoder layers."""
        return core.get_decoder()

    def projector(self, core: Any) -> Any:
        """The module that takes encoder features (images, patches, D) to the LLM's width, one by one.

        Raises:
            UnsupportedError: this family has no such module: it joins, pools or packs patches on the way.
        """
        raise UnsupportedError(MERGES_LATE.format(self.model_type))

    def encoder_keys(self, core: Any) -> Any:
        """The module whose output is the keys of the vision layer that reads the chosen features.

        Raises:
            UnsupportedError: this family has no such single module.
        """
        raise UnsupportedError(NO_KEYS.format(self.model_type))

    def vision_layer(self, core: Any) -> Any:
        """The encoder layer whose output is the chosen features; its queries and keys can be watched.

        Raises:
            UnsupportedError: it is `unwatched`, a tower that `towers.TOWERS` does not know, or no such
                layer.
        """
        if why := self.why_unwatched(towers.tower_type(core)):
            raise UnsupportedError(why)
        return towers.layer_of_state(towers.tower_layers(core), towers.chosen_state(core))

    def why_unwatched(self, tower: str) -> str:
        """Why the attention and keys of a tower of that type are not to be had; "" where they are."""
        if self.unwatched or type(self).vision_layer is not Family.vision_layer:
            return self.unwatched
        return towers.why_unknown(tower, self.model_type)

    @property
    def usual_tower(self) -> str:
        """The type of its vision tower, where a config does not say another."""
        row = self._tiny_row
        named = None if row is None else row.config.get("vision_config", {}).get("model_type")
        return named or next((t for t in towers.TOWERS if t.startswith(f"{self.model_type}_")), "")

    def question_flops(self, config: Any, inputs: Mapping[str, Any]) -> list[int]:
        """For each sample what reading its question beforehand takes, if it is not known yet.

        Args:
            config: of the model.
            inputs: of the model.
        """
        return [0] * len(inputs["input_ids"])

    def packed(self, core: Any, modality: str, arguments: Mapping[str, Any]) -> list[int] | None:
        """Patches of each image, where the encoder computes all in one sequence; None where in a batch.

        Args:
            core: the model without its head.
            modality: "image" or "video".
            arguments: of the core's `get_image_features` or `get_video_features`.
        """
        return by_name.packed(core, modality, arguments)

    def pool_patches_to_tokens(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        patches: Float[Tensor, "I P C"],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> Float[Tensor, "V C"]:
        """What each visual token has of its patches' values: their mean, packed as features are.

        Args:
            core: the model without its head.
            modality: "image" or "video".
            arguments: of the core's `get_image_features` or `get_video_features`.
            patches: as the encoder computes them, without [CLS].
            groups: of each image or clip, one number for each of its visual tokens.
        """
        return by_name.pool_patches(core, modality, arguments, patches, groups)

    def grids(
        self,
        core: Any,
        modality: str,
        arguments: Mapping[str, Any],
        groups: Sequence[Int[Tensor, " _"]],
    ) -> list[list[tuple[int, int]]]:
        """Rows and columns of each group of each entry of `groups`; squares, unless sizes are given.

        Raises:
            UnsupportedError: a group is no square.
        """
        return by_name.grids_of(core, modality, arguments, groups)

    def blocks(self, inputs: Mapping[str, Any]) -> Int[Tensor, "B N"] | None:
        """Where attention runs both ways: the number of each token's block, -1 outside; None = nowhere.

        Args:
            inputs: keyword arguments of the core's forward.
        """
        return None

    def both_ways_in(self, config: Any, kind: str) -> bool:
        """Whether layers of a kind ("full_attention", "sliding_attention") let a block see both ways.

        Args:
            config: of the model.
            kind: what the layers do with the sequence.
        """
        return True

    def deepstack(self, arguments: dict[str, Any]) -> list[Float[Tensor, "V D"]]:
        """Take out of the LLM's arguments what it adds to the visual rows behind its first layers."""
        mask, features = rules.DEEPSTACK
        if mask in arguments:
            arguments[mask] = None
        return list(arguments.pop(features, None) or ())

    def refuse(self, call: Mapping[str, Any]) -> None:
        """Refuse what this family's callers would do with a reduced prompt, and get wrong.

        Args:
            call: arguments of the whole model's forward, with pictures among them.
        """

    def tiny(self) -> Any:
        """A model of this family with random weights, small enough to test on.

        Raises:
            UnsupportedError: the table has none: the family must bring its own, and its pictures.
        """
        from transformers import AutoConfig, AutoModelForImageTextToText

        config = AutoConfig.for_model(**copy.deepcopy(self._tiny_model.config))  # they change it
        return AutoModelForImageTextToText.from_config(config).eval()

    @property
    def _tiny_row(self) -> TinyModel | None:
        """The table's row of this family, or else of the one that it is made from."""
        kinds = [self.model_type, *(vars(cls).get("model_type") for cls in type(self).__mro__)]
        return next((TINY[kind] for kind in kinds if kind in TINY), None)

    @property
    def _tiny_model(self) -> TinyModel:
        if self._tiny_row is None:
            raise UnsupportedError(
                f"no tiny model of {self.model_type!r} is known: write tiny and tiny_picture"
            )
        return self._tiny_row

    def tiny_picture(self, config: Any, modality: str, size: int) -> Picture:
        """A picture of noise for `tiny`.

        Args:
            config: of the tiny model.
            modality: one of `placeholders`.
            size: from 0; families that take pictures of several shapes give each another one.
        """
        placeholder = self.placeholders(config)[modality]
        return self._tiny_model.picture(modality)(config, placeholder, size)

    def tiny_collate(self, samples: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """The tensors of all pictures of a batch, as the family's processor lays them out."""
        row = self._tiny_row
        return stacked(samples) if row is None else row.collate(samples)

    def tiny_inputs(
        self,
        config: Any,
        samples: Sequence[Sequence[tuple[str, int]]],
        padding: Literal["left", "right"] = "left",
    ) -> dict[str, Tensor]:
        """A seeded batch for `tiny`.

        Args:
            config: of the tiny model.
            samples: for each sample its pictures, each (modality, size).
            padding: the side on which shorter samples are padded.
        """
        drawn = [[self.tiny_picture(config, *picture) for picture in sample] for sample in samples]
        inputs = prompt(drawn, self.tiny_collate, padding)
        if self.token_types is not None:
            shown = {modality for sample in samples for modality, _ in sample}
            kinds = torch.zeros_like(inputs["input_ids"])
            for place, (modality, token) in enumerate(self.placeholders(config).items(), 1):
                if modality in shown:
                    kinds[inputs["input_ids"] == token] = place
            inputs[self.token_types] = kinds
        return inputs


class Unnamed(Family):
    """A family that nobody has named: what is guessed of its patches is nothing."""

    def __init__(self, **stated: Any) -> None:
        """A family by the rules.

        Args:
            **stated: what the rules say.
        """
        super().__init__(**stated)
        self.unwatched = (
            f"{self.model_type} is not known by name, nor which patches its tokens are made of, so the "
            "encoder's attention and keys are not to be had; works: methods that need neither"
        )


_FAMILIES: dict[str, Family] = {}
_BY_RULES: dict[type, Family] = {}  # of model classes that nobody has named


def register_family(family: type[Family]) -> type[Family]:
    """Class decorator that enters a family into the table."""
    _FAMILIES[family.model_type] = family()
    return family


def families() -> dict[str, Family]:
    """All families that have a name here by model type, sorted."""
    for module in decorated(register_family.__name__, "foveate.models").values():
        importlib.import_module(module)
    named = importlib.import_module("foveate.models.named").NAMED
    return dict(sorted({**{family.model_type: family for family in named}, **_FAMILIES}.items()))


def family_of(model: Any) -> Family:
    """The family of a model; of one that nobody has named what the rules say, with a warning.

    Raises:
        UnsupportedError: the rules cannot decide, where the message says what is missing, or the model
            is without its head.
    """
    name, kind = type(model).__name__, _model_type(model)
    family = families().get(kind or "") or _BY_RULES.get(type(model))
    if family is None:
        family = _by_rules(model, kind, name)
    if not hasattr(model, "model"):
        raise UnsupportedError(
            f"cannot reduce {name}, which is the model inside: pass the whole model with its language "
            "head (...ForConditionalGeneration)"
        )
    return family


def _model_type(model: Any) -> str | None:
    return getattr(getattr(model, "config", None), "model_type", None)


def _by_rules(model: Any, kind: str | None, name: str) -> Family:
    """A family that nobody has named, remembered for its class; said once."""
    if kind is None:
        raise _unsupported(kind, name, "it is no transformers model")
    lacking = OUT_OF_SCOPE.get(kind) or "; ".join(rules.faults(model))
    if lacking:
        raise _unsupported(kind, name, lacking)
    family = Unnamed(model_type=kind, model_class=name, has_cost=False, **rules.stated(model))
    _BY_RULES[type(model)] = family
    warnings.warn(
        f"foveate does not know {name} (model type {kind!r}) by name and goes by transformers' "
        "conventions: which tile or frame a visual token belongs to is guessed. Check it with: "
        "foveate check MODEL",
        stacklevel=3,
    )
    return family


def family_of_config(config: Any, name: str) -> Family:
    """The family of a checkpoint, told before its weights are there.

    Args:
        config: of the whole model, as transformers read it.
        name: of the model, for the error.

    Raises:
        UnsupportedError: no vision-language model of transformers, or the rules cannot decide.
    """
    from transformers import AutoModelForImageTextToText

    kind = config.model_type
    if kind in (table := families()):
        return table[kind]
    if kind in OUT_OF_SCOPE:
        raise _unsupported(kind, name, OUT_OF_SCOPE[kind])
    if type(config) not in AutoModelForImageTextToText._model_mapping:
        raise _unsupported(kind, name, "transformers has no image-text-to-text model of it")
    with torch.device("meta"):
        return family_of(AutoModelForImageTextToText.from_config(config))


def _unsupported(kind: str | None, name: str, lacking: str) -> UnsupportedError:
    return UnsupportedError(
        f"cannot reduce {name} (model type {kind!r}): {lacking}; supported: {', '.join(families())}, "
        "and what keeps transformers' conventions; see docs/guides/new-family.md"
    )
