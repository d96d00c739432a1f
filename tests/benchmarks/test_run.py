"""The benchmark itself, at a tiny size, with whatever is installed."""

import pytest

from benchmarks.compare import run as running
from benchmarks.compare.contestants import CONTESTANTS
from benchmarks.compare.group import GroupError
from benchmarks.compare.measures import MEASURES
from benchmarks.compare.run import ask, run, takes_part
from benchmarks.compare.values import TINY, Result
from benchmarks.compare.workloads import WORKLOADS, chosen

sockets = pytest.mark.sockets
MAY_LOSE = {"zenoh default", "pynng"}


def check(results: list[Result]) -> None:
    """Everybody has figures, none below zero, and who promises so lost nothing."""
    assert not [result for result in results if result.problem]
    for result in results:
        workload = next(w for w in WORKLOADS if w.name == result.workload)
        assert result.figures[workload.figure] >= 0
        assert "count" not in result.figures
        if result.contestant not in MAY_LOSE:
            assert not result.figures.get("lost"), result


@sockets
@pytest.mark.slow
def test_every_workload() -> None:
    """Each gives figures of this project and of pyzmq by hand; nothing is lost."""
    workloads = chosen((), ("plain", "copy=False"))
    said: list[str] = []
    results = list(run(workloads, TINY, said.append))
    check(results)
    assert {result.workload for result in results} == {w.name for w in WORKLOADS}
    assert any("warm-up" in text for text in said)


@sockets
@pytest.mark.slow
def test_every_contestant_that_is_installed() -> None:
    """Each takes part across two processes, servers and all."""
    workloads = chosen(("dict", "asyncio", "8m", "100-exchanges"))
    results = list(run(workloads, TINY, lambda text: None))
    check(results)
    took_part = {name for w in workloads for name in takes_part(w)}
    assert {result.contestant for result in results} == took_part


@sockets
@pytest.mark.slow
def test_who_fails_is_out_of_that_workload_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trouble is in the results; others, and the same in other workloads, go on."""
    flood = MEASURES["flood"]

    def fails(group, workload):  # type: ignore[no-untyped-def]
        if (group.contestant, workload.name) == ("zexchange", "tiny"):
            raise GroupError("it broke")
        return flood(group, workload)

    monkeypatch.setitem(running.MEASURES, "flood", fails)
    results = list(run(chosen(("dict", "tiny"), ("pyzmq plain",)), TINY, lambda text: None))
    assert [(r.workload, r.problem) for r in results if r.contestant == "zexchange"] == [
        ("tiny", "it broke"),
        ("dict", ""),
    ]
    theirs = [r for r in results if r.contestant == "pyzmq plain"]
    assert [(r.workload, r.problem) for r in theirs] == [("dict", ""), ("tiny", "")]


def test_what_is_in_two_groups_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything twice, then only the workload that still is; who asked is told."""
    asked: list[list[str]] = []

    def answer(workloads, size, progress):  # type: ignore[no-untyped-def]
        asked.append([workload.name for workload in workloads])
        progress("going")
        for workload in workloads:
            for number in range(5):
                high = workload.name == "tiny" and number % 2 and len(asked) < 4
                yield Result(workload.name, "zexchange", number, {"rate": 2.0 if high else 1.0})

    monkeypatch.setattr(running, "run", answer)
    said: list[str] = []
    results = list(ask(chosen(("dict", "tiny")), TINY, said.append, 4))
    assert asked == [["dict", "tiny"], ["dict", "tiny"], ["tiny"], ["tiny"]]
    assert [said[0], said[-1]] == ["asking 1, going", "asking 4, going"]
    assert {result.asking for result in results if result.workload == "dict"} == {0, 1}
    assert len(list(ask(chosen(("dict",)), TINY, said.append, 4))) == 10


@sockets
def test_an_end_without_reason_is_a_problem() -> None:
    """A process that dies is named with what it said, and is no hanging run."""
    from benchmarks.compare.group import Group
    from benchmarks.compare.servers import Servers

    with Servers() as servers:
        group = Group("zexchange", "alone", TINY, servers)
        try:
            with pytest.raises(GroupError, match="AttributeError"):
                group.processes[0].ask("nothing_that_there_is")
            group.processes[0]._process.kill()
            with pytest.raises(GroupError, match="status -9"):
                group.processes[0].ask("memory")
        finally:
            group.close()


def test_who_is_missing_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that is not installed takes no part, and how to install it is said."""
    monkeypatch.setattr(CONTESTANTS["nats-py"], "needs", ("no_such_module",))
    monkeypatch.setattr(CONTESTANTS["redis-py"], "server", "no-such-server")
    absent = {one.contestant: one.remedy for one in running.missing()}
    assert "nats-server" in absent["nats-py"]
    assert "redis-server" in absent["redis-py"]
    assert not {"nats-py", "redis-py"} & set(takes_part(chosen(("dict",))[0]))
