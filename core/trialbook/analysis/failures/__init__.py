"""What a run answered wrongly: why, by rule and by hand, and beside another run."""
