"""What can only be known on a GPU, measured in one command: ``python -m benchmarks.gpu``; see ``docs/gpu.md``."""
