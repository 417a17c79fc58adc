"""Ask a finished run in a browser, and look at the registry: ``mlrun demo RUN``."""
