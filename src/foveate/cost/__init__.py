"""What a request costs: FLOPs, KV cache and time. Needs neither torch nor a model."""
