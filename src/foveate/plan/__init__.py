"""From measurements to a choice: laws, their frontier, plans. Needs neither torch nor a model."""
