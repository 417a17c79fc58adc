"""``python -m trialbook`` is the same command as ``mlrun``."""

from trialbook.cli.main import main

if __name__ == "__main__":
    main()
