"""What the package asks of other packages, and what it is tested with."""

import configparser
import re
import tomllib

from tests.support import ROOT

EXTRAS = (
    *("cli", "numpy", "fast", "discovery", "msgspec", "pydantic"),
    *("socketio", "litestar", "broadcaster", "opentelemetry", "prometheus", "web"),
)


def test_the_lowest_versions_that_are_allowed_are_tested() -> None:
    """Each lower bound of the core and its extras is pinned in the environment `lowest`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    allowed = {*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])}
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    tested = re.findall(r"^\S+==\S+$", tox["testenv:lowest"]["deps"], re.MULTILINE)
    assert sorted(line.replace(">=", "==") for line in allowed) == sorted(tested)


def test_the_readme_names_the_extras_and_what_is_installed_without() -> None:
    """Each extra for programs is in its table, and the core needs the two packages it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = readme.partition("| extra |")[2].partition("\n\n")[0]
    named = {name for row in rows.splitlines()[2:] for name in re.findall(r"`(\w+)`", row[:60])}
    assert set(EXTRAS) <= named
    core = [re.split(r"[><=]", line)[0] for line in project["dependencies"]]
    assert f"adds only `{core[0]}` and `{core[1]}`." in readme
    assert len(core) == 2
