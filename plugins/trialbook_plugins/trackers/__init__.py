"""Trackers: one file each, named after it. They import the program that they tell when the first run starts."""
