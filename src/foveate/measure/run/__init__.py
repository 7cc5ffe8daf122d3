"""Running models: methods x shares x tasks become records, one line a fact, resumable after any kill."""
