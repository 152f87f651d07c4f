"""`python -m collimate`: the command line."""

import sys

from collimate.cli.main import main

if __name__ == "__main__":  # doctest collection imports every module
    sys.exit(main())
