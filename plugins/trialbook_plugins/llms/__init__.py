"""First-party language models; one file each. Importing this package imports nothing."""
