"""One layer of an LLM as LLM-Viewer (arXiv 2402.16363) counts it, for the tables of AIM (2412.03248)."""

from functools import lru_cache

from foveate.cost.operation import Operation
from foveate.cost.shapes import LLM


@lru_cache(maxsize=8192)
def viewer_layer(llm: LLM, _: int, rows: int) -> tuple[Operation, ...]:
    """One layer as the published tables count it."""
    width, wide, narrow = llm.width, llm.attention_width, llm.kv_width
    pairs = rows * rows * llm.heads
    residuals = 1 if llm.qkv_bias else 2  # the tables' `--skip-mlp-bias`, used for Qwen2 alone

    def work(flops: int, moved: int, attention: bool = False) -> Operation:  # noqa: FBT001
        return Operation(flops, flops, moved, attention)

    matrices = [(width, wide), (width, narrow), (width, narrow), (wide, width)]
    matrices += [(width, llm.inner)] * (llm.matrices - 1) + [(llm.inner, width)]
    product = 2 * rows * rows * wide
    return (
        *(work(2 * rows * a * b, a * b + rows * (a + b)) for a, b in matrices),
        # the reference counts the queries with the keys' width here
        work(product, 2 * rows * narrow + pairs, attention=True),
        work(product, pairs + rows * (wide + narrow), attention=True),
        work(5 * pairs, 2 * pairs),  # softmax
        *[work(7 * rows * width, 2 * rows * width)] * 2,  # norms
        *[work(rows * width, 2 * rows * width)] * residuals,
        work(2 * rows * width, 3 * rows * width),  # activation, counted with the model's width
    )
