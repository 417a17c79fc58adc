"""Comparing runs: what the data decide, what they do not, and what else differed."""
