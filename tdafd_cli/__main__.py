"""Lets ``python -m tdafd_cli`` do what ``tdafd`` does."""

from tdafd_cli.cli import main

if __name__ == "__main__":
    main()
