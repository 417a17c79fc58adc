"""Training and measuring: yields records, and knows nothing of SQLite, click or rich."""
