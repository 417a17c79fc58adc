"""Decisions: gates held against intervals, candidates ranked by weighted scores, and the recommendation that follows."""
