"""The command line as ``python -m zexchange.cli``: the same as the installed `zexchange`."""

from . import main

if __name__ == "__main__":
    main()
