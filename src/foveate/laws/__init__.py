"""Scaling laws: fitted to scores, their frontier, their figure."""
