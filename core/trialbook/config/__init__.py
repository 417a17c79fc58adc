"""An experiment file as data: read, merged, expanded into arms and runs."""
