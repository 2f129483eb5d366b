"""``python -m evalkit.cli``."""

import sys

from evalkit.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
