"""Doing a recorded run again."""
