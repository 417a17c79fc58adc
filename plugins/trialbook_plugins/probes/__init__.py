"""The mathematics of probing: comparing representations, probes on stored features, and measures of boxes and pictures."""
