"""Follows every link of the built site: `python -m tests.links site`, as `tox -e docs` does.

Zensical looks at the links of Markdown; this looks at what readers get. Every link inside the
site leads to a page and a place that are there, and no page loads anything from elsewhere.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""By element, the attribute whose address the browser fetches by itself."""
TALK = {"canonical", "alternate", "prev", "next"}
"""Kinds of `link` that fetch nothing."""


class Page(HTMLParser):
    """What a page has and where it leads.

    Attributes:
        places: the ids in it.
        links: where a reader may go from it.
        loads: what the browser fetches for it.
        drawn: whether it has a diagram that a script from elsewhere would have to draw.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.places: set[str] = {""}
        self.links: list[str] = []
        self.loads: list[str] = []
        self.drawn = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        found = {name: value or "" for name, value in attrs}
        self.places.add(found.get("id", ""))
        self.drawn = self.drawn or "mermaid" in found.get("class", "").split()
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in LOADED and LOADED[tag] in found and found.get("rel", "") not in TALK:
            self.loads.append(found[LOADED[tag]])


def complaints(site: Path) -> Iterator[str]:
    """Yield what is wrong with a site, a sentence each."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    if not pages:
        yield f"{site} has no pages: build it first"
    for page in pages.values():
        name = page.path.relative_to(site)
        for address in page.loads:
            if _elsewhere(address):
                yield f"{name} loads {address}"
        if page.drawn:
            yield f"{name} has a diagram that needs a script from elsewhere: draw it as SVG"
        for address in [*page.links, *page.loads]:
            if not _elsewhere(address) and not _leads(page.path, address, pages):
                yield f"{name} leads to {address}, which is not there"
    for sheet in site.rglob("*.css"):
        for address in re.findall(r"url\(\s*['\"]?([^'\")]+)", sheet.read_text(encoding="utf-8")):
            if _elsewhere(address) and not address.startswith("data:"):
                yield f"{sheet.relative_to(site)} loads {address}"


def _elsewhere(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.scheme or parts.netloc)


def _leads(source: Path, address: str, pages: dict[Path, Page]) -> bool:
    parts = urlsplit(address)
    target = (source.parent / unquote(parts.path)).resolve() if parts.path else source.resolve()
    if target.is_dir():
        target /= "index.html"
    if target not in pages:
        return target.exists()
    return unquote(parts.fragment) in pages[target].places


def main() -> int:
    """Say what is wrong with the site that is named; return how much."""
    found = list(complaints(Path(sys.argv[1])))
    print("\n".join(found) or "every link leads somewhere, and nothing is loaded from elsewhere")
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main())
