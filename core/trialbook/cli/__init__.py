"""The ``mlrun`` command; each command lives in a module of its own and is imported when it is called."""
