"""What the package asks of other packages, and what it is tested with."""

import configparser
import re
import tomllib

from tests.support import ROOT

EXTRAS = "cli", "numpy", "discovery", "msgspec", "pydantic", "socketio", "litestar", "broadcaster"


def test_the_lowest_versions_that_are_allowed_are_tested() -> None:
    """Each lower bound of the core and its extras is pinned in the environment `lowest`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    allowed = [*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    tested = re.findall(r"^\S+==\S+$", tox["testenv:lowest"]["deps"], re.MULTILINE)
    assert sorted(line.replace(">=", "==") for line in allowed) == sorted(tested)
