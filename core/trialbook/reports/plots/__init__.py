"""Plots of runs and experiments."""
