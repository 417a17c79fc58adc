"""What recorded runs say: estimates, comparisons, decisions, failures."""
