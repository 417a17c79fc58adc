"""First-party captioners; one file each. Importing this package imports nothing."""
