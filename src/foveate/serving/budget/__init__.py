"""A time held, not a ratio guessed: an ASGI middleware that chooses each request's budget.

`Budget` is the middleware (`asgi`). It reads a chat request's `body`, asks an `estimate` of its work,
lets a `controller` choose from what is in flight, and brings predictions to what is measured
(`correction`). `settings` says what can be set, `metrics` what is told.
"""

from foveate.serving.budget.asgi import Budget

__all__ = ["Budget"]
