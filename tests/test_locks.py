"""No lock of the package is held while somebody else's code runs, and every lock is known."""

import ast
from collections.abc import Iterator

from tests.locks import MADE
from tests.support import ROOT

OURS = ("bench", "cli", "testing")
"""Rooms that only programs of ours use, or that have no threads."""


def test_every_lock_is_known() -> None:
    """Whoever makes one has it looked at, too, by what looks who holds one."""
    found = {}
    for path in sorted((ROOT / "zexchange").rglob("*.py")):
        if path.relative_to(ROOT / "zexchange").parts[0] not in OURS:
            made = set(locks(ast.parse(path.read_text(encoding="utf-8"))))
            if made:
                found[str(path.relative_to(ROOT / "zexchange"))] = made
    assert found == MADE


def locks(tree: ast.AST) -> Iterator[str]:
    """Yield what each lock that is made in a module is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and is_lock(node.value):
            yield "return"
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            targets = getattr(node.targets[0], "elts", [])
            pairs = zip(targets, node.value.elts, strict=False)
            yield from (ast.unparse(target) for target, value in pairs if is_lock(value))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and is_lock(node.value):
            yield ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)


def is_lock(node: ast.AST | None) -> bool:
    """Tell whether an expression makes a lock."""
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {
        "Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Barrier",
    }  # fmt: skip
