"""Running models: methods x budgets x tasks become records, one line a fact, resumable after any kill."""
