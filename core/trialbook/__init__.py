"""A plugin-based experiment runner with a registry. Importing this package imports nothing heavy."""

__version__ = "0.1.0"
