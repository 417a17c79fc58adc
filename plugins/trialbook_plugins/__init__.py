"""First-party plugins of trialbook. They use the same door as anyone else's: see ``plugin``."""
