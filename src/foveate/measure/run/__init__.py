"""Run models: methods x shares x tasks become records, line by line, resumable after any kill."""
