"""Lets `python -m malt` stand for `malt`."""

import sys

from malt.cli import main

if __name__ == "__main__":
    sys.exit(main())
