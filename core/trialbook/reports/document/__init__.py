"""Blocks of a page, and how they become HTML and Markdown."""
