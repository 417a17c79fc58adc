"""The wrong answers of a run: why they are wrong, by rule and by hand, and beside another run."""
