"""The registry: a SQLite index over run directories that can be thrown away and rebuilt from them."""
