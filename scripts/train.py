"""Train a detector: the same as `dfdetect train`."""

import sys

from dfdetect.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["train", *sys.argv[1:]]))
