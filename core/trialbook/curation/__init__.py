"""Building, reading and describing folders of conversations; importing this package imports nothing."""
