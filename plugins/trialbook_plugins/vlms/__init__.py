"""Architectures of vision-language models as tables, and how their layers are read."""
