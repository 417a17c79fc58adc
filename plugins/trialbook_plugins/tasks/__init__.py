"""First-party tasks; one file each. Importing this package imports nothing."""
