"""An experiment: methods inside the LLM, in vLLM, for all requests of an engine that asks for it.

    vllm serve MODEL --hf-overrides '{"foveate": {"method": "aim", "keep": 0.25, "experimental": true}}'

What is dropped is decided as in transformers, by the same scores and schedules. Layers behind a drop
compute fewer rows, and cache keys of these alone, at the front of the request's blocks. What this saves
is work, not memory: vLLM gives every layer of a request as many blocks as its whole prompt needs.

vLLM has no place for this, and in most of what it can do it would be silently wrong. So each engine is
refused but those of which it is shown to be right (`limits`). `docs/guides/serving.md` says which, and
what cannot be seen from here.
"""
