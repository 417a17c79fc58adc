"""First-party checks of the doctor; one file each. Importing this package imports nothing, and no check imports torch."""
