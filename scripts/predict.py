"""Analyse clips: the same as `dfdetect predict`."""

import sys

from dfdetect.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["predict", *sys.argv[1:]]))
