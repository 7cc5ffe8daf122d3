"""From records to a page: tables, intervals, the front, and a verdict against the plain baselines."""
