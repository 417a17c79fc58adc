"""Architectures of vision-language models as tables, and how their modules are tapped."""
