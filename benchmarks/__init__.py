"""One script a subject; see README.md."""
