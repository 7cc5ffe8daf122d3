"""Image-text-to-text models of transformers that are out of scope, each with why."""

CROSS = "pictures reach its LLM by cross-attention: they are no rows of it"
ENCODER_DECODER = "it is an encoder-decoder: visual tokens are no rows of its decoder"
QUERIES = "its query tokens reach an LLM that is not laid out as others are (no .model)"
TOKENS = (
    "its pictures are words of its vocabulary, found by a quantizer: merging knows no such words"
)
BOTH_WAYS = "it takes token_type_ids, by which attention runs both ways; no module says where"
INDEXED = (
    "its layers attend to rows that an index picks (indexed_attention), which no reduction follows"
)
NO_MASK = "its sliding layers take no attention mask, so that dropped rows cannot be told"
TIMM = "its vision tower is built by timm, which foveate does not need: it was never tried"
UNWRITTEN = "it does not keep transformers' conventions, and the module of its own is not written"

_KINDS = {
    CROSS: ("blip", "evolla", "idefics", "mllama"),
    ENCODER_DECODER: (
        "florence2", "pix2struct", "pp_formulanet", "t5gemma2", "udop",
        "vision-encoder-decoder",
    ),
    QUERIES: ("blip-2", "instructblip", "instructblipvideo", "kosmos-2", "kosmos-2.5"),
    TOKENS: ("chameleon", "emu3"),
    BOTH_WAYS: ("inkling_mm_model", "shieldgemma2"),
    INDEXED: ("dots3_note", "glm5_next", "hy_v4_vl", "mistral_large4"),
    NO_MASK: ("inkling2", "inkling2_loop"),
    TIMM: ("gemma3n", "perception_lm"),
    UNWRITTEN: ("cohere_compass", "granite4_vision", "granite_docling", "hunyuan_vl", "molmo2"),
    "pictures stand before its text, with no placeholders in the prompt": ("git",),
    "it writes many tokens at a time, by diffusion: it has no causal prefill": ("diffusion_gemma",),
    "transformers' own forward of it fails, and it has no .model": ("llama4",),
    "its entry is an LLM without a vision tower": ("mistral4",),
    "its LLM has Mamba layers and no .model": ("nemotron_h_omni",),
    "it makes a robot's actions, not text": ("pi0",),
    "its layers are of kind reference_sliding_attention, which no reduction follows": (
        "unlimited_ocr",
    ),
}  # fmt: skip
OUT_OF_SCOPE = dict(sorted((kind, why) for why, kinds in _KINDS.items() for kind in kinds))
