"""The front end's half: which budget a request has, and how many placeholders its pictures get."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from vllm.multimodal.inputs import (  # pyright: ignore[reportMissingImports]
    MultiModalFieldConfig,
    MultiModalKwargsItems,
)
from vllm.multimodal.parse import (  # pyright: ignore[reportMissingImports]
    DictEmbeddingItems,
    EmbeddingItems,
    MultiModalDataItems,
)
from vllm.multimodal.processing import (  # pyright: ignore[reportMissingImports]
    BaseMultiModalProcessor,
    PromptUpdateDetails,
)

from foveate.errors import InputError, UnsupportedError
from foveate.serving.field import KEY
from foveate.serving.vllm.budget import (
    SWITCH_ON,
    Switch,
    encoding_of,
    method_of,
    needs_question,
    packed,
    read,
    with_question,
)
from foveate.serving.vllm.encoder import check_encoding
from foveate.serving.vllm.inside.limits import refuse_open_end
from foveate.serving.vllm.layout import Layout, kept, kept_by_group

MODALITIES = ("image", "video")
Arguments = Mapping[str, Any]
LayoutOf = Callable[[Any, str, Mapping[str, Any]], Layout]  # (config, modality, item) -> layout
PROFILE = object()  # in a budget's place, where vLLM measures what pictures take


def field(modality: str) -> str:
    """The name under which the budget of a picture travels beside its pixels."""
    return f"{KEY}_{modality}"


class FoveateProcessor(BaseMultiModalProcessor):
    """Goes before a model's own processor in the bases of a class.

    A class states `layout_of`, with which the model agrees.
    """

    layout_of: LayoutOf

    def __init__(self, info: Any, dummy_inputs: Any) -> None:
        super().__init__(info, dummy_inputs)
        context = info.ctx
        self.foveate = self.switch(context.get_hf_config())
        check_config(context.get_mm_config(), self.foveate)

    def switch(self, config: Any) -> Switch:
        """What the operator of the engine said, if the model can do it.

        Args:
            config: of the model.
        """
        switch = Switch.of(config)
        self._check_encoding(switch.default)
        return switch

    def get_dummy_inputs(self, *arguments: Any, **named: Any) -> Any:
        """The stock ones: memory is profiled for pictures that are not reduced."""
        inputs = super().get_dummy_inputs(*arguments, **named)
        given = {**inputs.hf_processor_mm_kwargs, KEY: PROFILE}
        return replace(inputs, hf_processor_mm_kwargs=given)

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """Process a prompt under the request's budget, or the engine's.

        Raises:
            InputError: a budget that cannot be read or served, or an engine whose operator allows none; a
                prompt that ends with a picture, where the LLM prunes; embeddings that are no numbers.
        """
        if self.foveate.is_on:
            refuse_no_numbers(inputs.mm_data_items, self.info.ctx.model_config.dtype)
        given = dict(inputs.hf_processor_mm_kwargs)
        is_profile = given.get(KEY) is PROFILE
        text = self.asked(inputs)
        given.pop(KEY, None)
        if text:  # enters the hash of each picture, so caches of different budgets are apart
            given[KEY] = text
        made = super().apply(replace(inputs, hf_processor_mm_kwargs=given), timing_ctx)
        if self.foveate.inside is not None and not is_profile:
            refuse_open_end(made)
        return made

    def asked(self, inputs: Any) -> str:
        """What a request asks for, and the question if it is read, as one text; "" for nothing.

        Args:
            inputs: of the request.
        """
        text = self._budget(inputs.hf_processor_mm_kwargs, inputs.mm_data_items)
        if text and needs_question(text):
            text = with_question(text, self._question(inputs.prompt))
        return text

    def _budget(self, given: Arguments, items: MultiModalDataItems) -> str:
        """The budget of a request as one text; "" for none."""
        refuse_nested(given)
        if KEY not in given:
            return self.foveate.default
        if given[KEY] is PROFILE:
            return ""
        if given[KEY] is not None and not self.foveate.is_on:
            raise InputError(
                f"this engine takes no {KEY!r} in mm_processor_kwargs: start it with {SWITCH_ON}, "
                "or with a budget for all requests in the braces"
            )
        text = read(given[KEY])
        self._check_encoding(text)
        if not text and self.foveate.inside is not None:
            raise InputError(
                f"this engine prunes inside the LLM, for every request: {KEY!r} takes another method "
                f"before the LLM, but not {given[KEY]!r}, under which all visual tokens would stay"
            )
        if text and any(isinstance(part, EmbeddingItems) for part in items.values()):
            raise InputError(f"image embeddings are taken as they are: leave {KEY!r} out")
        return text

    def _check_encoding(self, text: str) -> None:
        if text and (method := encoding_of(text)) is not None:
            check_encoding(self.info.ctx.get_hf_config(), method)

    def _question(self, prompt: Sequence[int]) -> list[int]:
        """The text behind the last picture or clip, or all text if none follows, as a method reads it."""
        media = placeholders(self.info.ctx.get_hf_config())
        last = max((place for place, token in enumerate(prompt) if token in media), default=-1)
        question = list(prompt[last + 1 :]) or [token for token in prompt if token not in media]
        if not question:
            raise InputError("this method reads the question, but the prompt has no text")
        return question

    def _get_hf_mm_inputs(self, mm_items: MultiModalDataItems, hf_kwargs: Arguments) -> Any:
        text, others = _split(hf_kwargs)
        found = super()._get_hf_mm_inputs(mm_items, others)
        for modality, items in mm_items.items():
            if text and len(items) and not isinstance(items, EmbeddingItems):
                found.passthrough_data[field(modality)] = packed(text).repeat(len(items), 1)
        return found

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Arguments) -> Arguments:
        text, others = _split(hf_processor_mm_kwargs)
        fields = super()._get_mm_fields_config(hf_inputs, others)
        if not text:
            return fields
        ours = {field(m): MultiModalFieldConfig.batched(m, keep_on_cpu=True) for m in MODALITIES}
        return {**fields, **ours}

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Arguments,
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[Any]:
        text, others = _split(hf_processor_mm_kwargs)
        updates = super()._get_prompt_updates(mm_items, others, out_mm_kwargs)
        if not text:
            return updates
        return [
            update
            if isinstance(mm_items.get(update.modality), EmbeddingItems)
            else self.smaller(update, text, out_mm_kwargs)
            for update in updates
        ]

    def smaller(self, update: Any, text: str, out_mm_kwargs: Any) -> Any:
        """The same update with as many placeholders as tokens stay.

        Args:
            update: of pictures or clips that are not reduced.
            text: of `asked`.
            out_mm_kwargs: what their processor made of them, by modality.
        """
        config, modality, method = self.info.ctx.get_hf_config(), update.modality, method_of(text)
        if method is None:
            return update

        def replacement(item: int) -> Any:
            whole = update.resolve(item).content
            data = out_mm_kwargs[modality][item].get_data()
            return shortened(whole, type(self).layout_of(config, modality, data), method)

        return replace(update, replacement=replacement)


def placeholders(config: Any) -> set[int]:
    """The tokens in whose place pictures and clips stand.

    Args:
        config: of the model.
    """
    names = (f"{modality}_token_{kind}" for modality in MODALITIES for kind in ("id", "index"))
    found = (getattr(config, name, None) for name in names)
    return {token for token in found if token is not None}


def shortened(whole: Any, layout: Layout, method: Any) -> Any:
    """A replacement with placeholders for the tokens that stay; text among them is left as it is.

    Args:
        whole: of a picture or clip that is not reduced.
        layout: of its tokens.
        method: before the LLM.

    Raises:
        InputError: another number of placeholders than of tokens; a method that cannot tell how many
            tokens stay of each frame, where text stands between frames; one that reads the question,
            where text stands behind the last of them.
    """
    is_token = torch.ones(len(whole.full), dtype=torch.bool)
    if whole.is_embed is not None:
        is_token = whole.is_embed(whole.full)
    places = is_token.nonzero()[:, 0]
    if len(places) != len(layout.group):
        raise InputError(
            f"vLLM writes {len(places)} placeholders for {len(layout.group)} visual tokens: this "
            "checkpoint's processor is not as foveate knows it"
        )
    if "query" in method.needs and not is_token[-1]:
        raise InputError(
            f"{method!r} reads the text behind a picture, but this model writes some there by itself"
        )
    stays = torch.ones_like(is_token)
    if int(places[-1] - places[0]) < len(places):
        stays[places[kept(method, layout) :]] = False
    else:
        for own, count in zip(
            places.split(layout.sizes), kept_by_group(method, layout), strict=True
        ):
            stays[own[count:]] = False
    full = [token for token, is_left in zip(whole.full, stays.tolist(), strict=True) if is_left]
    return PromptUpdateDetails(full, whole.is_embed)


def check_config(multimodal: Any, switch: Switch) -> None:
    """Refuse what an engine's configuration of pictures cannot have with foveate.

    Args:
        multimodal: vLLM's `MultiModalConfig`.
        switch: what the operator said.

    Raises:
        InputError: the key among the engine's `mm_processor_kwargs`, which vLLM merges unseen.
        UnsupportedError: vLLM's own video pruning beside foveate.
    """
    engine = multimodal.mm_processor_kwargs or {}
    if KEY in engine or any(_holds_key(value) for value in engine.values()):
        raise InputError(
            f"{KEY!r} among an engine's mm_processor_kwargs has no effect in vLLM: write "
            f"""--hf-overrides '{{"{KEY}": ...}}', or give it with a request"""
        )
    if switch.is_on and multimodal.is_multimodal_pruning_enabled():
        raise UnsupportedError("--video-pruning-rate prunes by itself: leave it out, or foveate")


def refuse_no_numbers(items: MultiModalDataItems, dtype: torch.dtype) -> None:
    """Refuse embeddings that are not finite: they stay in the KV cache, and spoil others' answers.

    Args:
        items: of a request.
        dtype: of the model.

    Raises:
        InputError: nan, or what is infinite in the model's dtype.
    """
    for part in items.values():
        if not all(bool(each.to(dtype).isfinite().all()) for each in _given(part)):
            raise InputError(
                f"{part.modality} embeddings must be finite numbers in the model's {dtype}, got others"
            )


def _given(part: Any) -> Iterator[torch.Tensor]:
    """Embeddings of a request's pictures or clips; none of those that come as pixels."""
    if isinstance(part, EmbeddingItems):
        yield from part.get_all()
    if isinstance(part, DictEmbeddingItems):
        for item in part.get_all():
            yield from (value for value in item.values() if value.is_floating_point())


def refuse_nested(given: Arguments) -> None:
    """Refuse the key where vLLM would hand it to a part of the processor.

    Args:
        given: a request's `mm_processor_kwargs`.

    Raises:
        InputError: it is there.
    """
    if nested := [name for name, value in given.items() if _holds_key(value)]:
        raise InputError(f"write {KEY!r} beside {nested[0]!r} in mm_processor_kwargs, not in it")


def _holds_key(value: object) -> bool:
    return isinstance(value, Mapping) and KEY in value


def _split(arguments: Arguments) -> tuple[str, dict[str, Any]]:
    """The budget's text, as `apply` put it there, and all other arguments."""
    others = dict(arguments)
    return others.pop(KEY, None) or "", others
