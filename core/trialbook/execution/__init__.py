"""Doing planned runs, here or on several processes, and telling of them."""
