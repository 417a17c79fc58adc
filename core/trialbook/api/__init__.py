"""The public functions for notebooks and scripts; ``import trialbook`` offers them under their names."""
