"""First-party projectors; one file each. Importing this package imports nothing."""
