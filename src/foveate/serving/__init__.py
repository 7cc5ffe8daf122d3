"""Servers and batches with fewer visual tokens: vLLM, `transformers serve`, tables of many pictures.

`vllm` is a plug-in of vLLM's; `guard` and `budget` are ASGI middleware that stands in front of a server.
"""
