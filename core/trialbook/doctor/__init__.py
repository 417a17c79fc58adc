"""The doctor: what looks broken in a run, with the evidence. Nothing here imports torch."""
