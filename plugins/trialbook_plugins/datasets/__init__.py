"""First-party datasets; one file each. Importing this package imports nothing."""
