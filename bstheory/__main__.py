"""``python -m bstheory`` is ``bstheory``."""

from bstheory.cli import main

if __name__ == "__main__":
    main()
