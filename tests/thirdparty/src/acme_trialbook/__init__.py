"""A plugin for trialbook, as a stranger would write it."""
