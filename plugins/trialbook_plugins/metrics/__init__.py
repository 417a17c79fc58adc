"""First-party metrics; one file each. Importing this package imports nothing."""
