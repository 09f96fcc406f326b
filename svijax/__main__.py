"""``python -m svijax``: see ``--help``."""

import sys

from svijax.demo import main

if __name__ == "__main__":
    sys.exit(main())
