"""Measure a detector: the same as `dfdetect evaluate`."""

import sys

from dfdetect.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["evaluate", *sys.argv[1:]]))
