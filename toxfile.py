"""Lets tox find every Python that pyenv has installed, not only the active one.

pyenv puts a `python3.12` on the PATH that fails unless that version is active, and tox then
skips its environments. Nothing happens here where there is no pyenv.
"""

import os
from pathlib import Path


def pyenv_folders() -> list[str]:
    """Return the folders that have the interpreters of pyenv."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return sorted(str(python.parent) for python in root.glob("versions/*/bin/python"))


# At the end, so that whatever is found without this stays the one that is found.
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), *pyenv_folders()])
