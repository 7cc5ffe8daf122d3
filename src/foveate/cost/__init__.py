"""What a request costs: FLOPs, KV cache and time. No model runs for it."""
