"""The pages: of a run, an experiment, a decision, failures."""
