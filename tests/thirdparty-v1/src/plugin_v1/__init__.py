"""A plugin against version 1 of trialbook's public API."""
