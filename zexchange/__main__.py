"""The command line as ``python -m zexchange``: the same as the installed `zexchange`."""

from .cli import main

if __name__ == "__main__":
    main()
