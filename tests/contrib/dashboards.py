"""The queries of Grafana's dashboards in examples/."""

import json
from collections.abc import Iterator
from pathlib import Path


def expressions(dashboard: Path) -> Iterator[str]:
    """Yield every query of a dashboard."""
    found = json.loads(dashboard.read_text(encoding="utf-8"))
    for panel in found["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for variable in found["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
