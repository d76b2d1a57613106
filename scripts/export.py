"""Write a detector as ONNX: the same as `dfdetect export`."""

import sys

from dfdetect.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["export", *sys.argv[1:]]))
