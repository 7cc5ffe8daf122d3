"""From records to a page: tables, intervals, the Pareto front, and verdicts against the baselines."""
