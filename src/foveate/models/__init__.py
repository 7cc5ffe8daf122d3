"""The only place that knows transformers' models: where visual tokens sit, how one is reduced."""
