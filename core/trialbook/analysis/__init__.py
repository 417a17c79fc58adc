"""Analysis of recorded runs: estimates, comparisons, decisions, failures."""
