"""First-party losses; one file each. Importing this package imports nothing."""
