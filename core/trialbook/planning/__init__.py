"""Checking an experiment file whole, before anything is spent on it."""
