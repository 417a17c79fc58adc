"""First-party encoders; one file each. Importing this package imports nothing."""
