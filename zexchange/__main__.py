"""The command line as ``python -m zexchange``: the same as the installed `zexchange`.

It decides nothing. It must not know more than where `main` is.
"""

from .cli import main

if __name__ == "__main__":
    main()
