"""`python -m dfdetect` is the same command as `dfdetect`."""

from dfdetect.cli.main import entry

if __name__ == "__main__":
    entry()
