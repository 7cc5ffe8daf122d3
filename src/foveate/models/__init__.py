"""The families: where the visual tokens of each sit, and a tiny random model to test on."""
