"""Plain English: turns of phrase that readers trip over do not come back.

Some kinds of sentences are counted in the Markdown of `README.md` and `docs/`, and in every
docstring of `zexchange/`:

- ``subject``: a sentence, or the part after a semicolon, that begins with *who*, *whoever*, *what*
  or *whatever* and is no question: "Who is told so says hello." Name the peer, sender or caller.
- ``who``: the same in the middle of a sentence: *whoever* anywhere, and *who* after a preposition
  or after a comma that no noun precedes: "sent by who joined", "if it fails, who asks is told".
- ``behind``: *behind* where it means *after*.
- ``anew``, ``any more``: write *again* and *no longer*.
- ``tell whether``: the docstring of a predicate begins with "Return whether".

There is no parser for English here, only regular expressions. Code in fences and between backticks,
headings, the targets of links and HTML comments are left out. A paragraph, a list item and a cell
of a table are texts of their own, and each is split into sentences. *What* is found only at the
front of a sentence: as an object ("says what it wants") it is plain English. It is not looked for
after a colon or in lower case at the front of a text either, since lists of fields and the cells of
tables explain names that way. A word before ", who" passes for a noun unless it is one of
`NO_NOUNS` or ends in *-ly*. *Behind* passes for a place if its sentence has one of `PLACES`, which
something can be behind, or says that somebody falls, lags or is left behind.
"""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED: dict[str, dict[str, int]] = {
    "docs": {},
    "docs/internals": {},
    "docstrings": {},
}
"""How many sentences of each kind there may be, by where; of a kind that is left out, none.

Lower a number when sentences have been rewritten, and never raise one. ``docs`` includes
README.md, and not ``docs/internals``.
"""
NO_NOUNS = (
    "again|away|before|after|here|there|then|now|so|too|well|yet|else|first|last|it|that|this|is|"
    "are|was|were|has|had|fails|failed|gone|left|more|not|one|once"
)
PLACES = "hubs?|prox(?:y|ies)|nat|firewalls?|forwards?|routers?|gateways?|falls?|fallen|lags?|left"
KINDS = {
    "subject": re.compile(
        r"(?:^(?:And |But )?(?:Who|What)|; (?:and |but )?(?:who|what))(?:ever)?\b(?!.*\?)"
    ),
    "who": re.compile(
        r"\w\W+whoever\b"
        r"|\b(?:by|to|of|from|for|with|than|like|between|against) who\b"
        rf"|\b(?:{NO_NOUNS}|\w+ly), who\b",
        re.IGNORECASE,
    ),
    "behind": re.compile(rf"^(?!.*\b(?:{PLACES})\b).*\bbehind\b", re.IGNORECASE),
    "anew": re.compile(r"\banew\b", re.IGNORECASE),
    "any more": re.compile(r"\bany more\b", re.IGNORECASE),
    "tell whether": re.compile(r"(?:^|[;,:] )(?:and |also )?tell whether\b", re.IGNORECASE),
}
WIDTH = 100


def texts_of_markdown(page: str) -> list[str]:
    """Return paragraphs, list items and cells, without code in fences, headings and comments."""
    page = re.sub(r"^( *)```.*?^\1``` *$", "", page, flags=re.MULTILINE | re.DOTALL)
    page = re.sub(r"\A---\n.*?^---\n|<!--.*?-->", "", page, flags=re.MULTILINE | re.DOTALL)
    page = re.sub(r"^(?:#|:::).*$", "", page, flags=re.MULTILINE)
    page = re.sub(r"\]\([^)]*\)", "]", page)
    return re.split(r"\n\s*\n|^\s*(?:[-*]|\d+\.) |\|\n|(?<!\\)\|", page, flags=re.MULTILINE)


def texts_of_python(source: str) -> Iterator[str]:
    """Yield paragraphs and list items of docstrings, those of attributes included."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield from re.split(r"\n\s*\n|^\s*- ", inspect.cleandoc(text), flags=re.MULTILINE)


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, with one word for each piece of code between backticks."""
    text = re.sub(r"(`+)[^`]+\1", "CODE", " ".join(text.split()))
    text = re.sub(r"[*_\[\]\"“”()]", "", text)
    return [s.strip() for s in re.split(r"(?<=[.!?]) +(?=\W*[A-Z0-9])", text)]


def kinds_in(sentence: str) -> set[str]:
    """Return the kinds that a sentence is of."""
    return {kind for kind, pattern in KINDS.items() if pattern.search(sentence)}


def texts(where: str) -> Iterator[tuple[Path, Iterable[str]]]:
    """Yield each file of a place that `ALLOWED` names, and its texts."""
    if where == "docstrings":
        for file in sorted((ROOT / "zexchange").rglob("*.py")):
            yield file, texts_of_python(file.read_text(encoding="utf-8"))
        return
    for page in pages():
        if (page.parent.name == "internals") == (where == "docs/internals"):
            yield page, texts_of_markdown(page.read_text(encoding="utf-8"))


def pages() -> list[Path]:
    """Return every Markdown page that readers are led to."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def found(where: str) -> dict[str, list[str]]:
    """Return by kind the sentences that are of it, each after the name of its file."""
    places: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for file, parts in texts(where):
        for sentence in (sentence for part in parts for sentence in sentences(part)):
            for kind in kinds_in(sentence):
                places[kind].append(f"{file.relative_to(ROOT)}: {sentence}")
    return places


@pytest.mark.parametrize("where", ALLOWED)
def test_no_kind_grows(where: str) -> None:
    """Of each kind there are at most as many sentences as are allowed there."""
    over = []
    for kind, places in found(where).items():
        most = ALLOWED[where].get(kind, 0)
        if len(places) > most:
            over += [f"{kind}: {len(places)} in {where}, {most} allowed", *places]
    assert not over, "\n  ".join(over)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("subject", "It is dropped. Who is told so\nsays hello."),
        ("subject", "Whoever has left may live, and be met again."),
        ("subject", "Some are sent again; what is more is dropped."),
        ("subject", "*What* a peer sends is bounded."),
        ("who", "It is sent to whoever asks."),
        ("who", "It is passed on by who finds it new."),
        ("who", "If that fails, who asks is told."),
        ("behind", "Publish a ready, behind all that was queued before."),
        ("anew", "It numbers its roster anew."),
        ("any more", "It is not wanted any more."),
        ("tell whether", "Tell whether two values are the same."),
    ],
)
def test_a_planted_sentence_is_found(kind: str, text: str) -> None:
    """In a paragraph, an item, a cell and a docstring."""
    assert any(kind in kinds_in(sentence) for sentence in sentences(text))
    for page in (
        text,
        f"# Title\n\n- An item.\n- {text}\n",
        f"| a | b |\n|---|---|\n| c | {text} |\n",
    ):
        assert any(kind in kinds_in(s) for part in texts_of_markdown(page) for s in sentences(part))
    source = f'class A:\n    a = 1\n    """First.\n\n    {text}\n    """\n'
    assert any(kind in kinds_in(s) for part in texts_of_python(source) for s in sentences(part))


@pytest.mark.parametrize(
    "text",
    [
        "What happens when a peer dies? It is reported.",
        '"Who may publish?" is a question.',
        "It says what it wants, and who is there.",
        "`peers`: what a hub has told.",
        "The return value tells whether it was sent; a task cannot tell whether it was.",
        "```python\n# What is here is code, behind anew.\n```",
        "# What is not bounded",
        "Nodes behind a hub are peers.",
        "A slow viewer does not lag behind.",
        "A peer that has a link, who may be the sender, answers.",
        "| what | most |\n|---|---|\n| a name | 255 bytes |\n",
        "<!-- What nobody sees. -->",
    ],
)
def test_plain_sentences_pass(text: str) -> None:
    """Questions, objects, code, headings and real places are left alone."""
    assert not [s for part in texts_of_markdown(text) for s in sentences(part) if kinds_in(s)]


@pytest.mark.parametrize("page", [*pages(), ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_lines_fit_an_editor(page: Path) -> None:
    """Lines of Markdown have 100 columns, but for tables, code, pictures and targets of links."""
    text = re.sub(
        r"^( *)```.*?^\1``` *$",
        lambda fence: "\n" * fence[0].count("\n"),
        page.read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    free = re.compile(r"\s*(?:\||!\[|\[[^\]]+\]:|<)|\s*\S+$|\s+members: ")
    long = [
        f"{page.name}:{number}: {len(line)} columns"
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > WIDTH and not free.match(line)
    ]
    assert not long, "\n".join(long)
