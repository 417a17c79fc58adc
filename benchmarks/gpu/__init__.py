"""Measurements that only a GPU can give, taken in one command: ``python -m benchmarks.gpu``; see ``docs/gpu.md``."""
