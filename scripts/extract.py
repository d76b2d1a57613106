"""Cut faces out of videos: the same as `dfdetect extract`."""

import sys

from dfdetect.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["extract", *sys.argv[1:]]))
