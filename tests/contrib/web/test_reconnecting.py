"""When zexchange.js connects again, and what it tells then: Node, with a WebSocket made of nothing.

Timers are not waited for: the script notes for how long each was set, and fires it.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.contrib.web.servers import node
from tests.contrib.web.test_values import MODULE
from tests.support import patience

START = """
const timers = []
globalThis.setTimeout = (call, after) => timers.push({ call, after })
globalThis.clearTimeout = id => { if (id) timers[id - 1].call = null }
const { connect, encode, decode } = await import(MODULE)

const sockets = []
class Nothing {
  constructor(url) { this.sent = []; sockets.push(this) }
  send(data) { this.sent.push(typeof data === "string" ? JSON.parse(data) : decode(data)) }
  close() { this.closed = true }
  get(...frame) { this.onmessage({ data: encode(frame).buffer }) }
}
const LIMITS = { message_bytes: 1 << 20, window: 256, replies: 1024 }
const welcome = (session, resumed, taken = 0) => {
  sockets.at(-1).onopen()
  sockets.at(-1).get("welcome", 1, session, resumed, taken, LIMITS)
}
const told = []
const client = connect("http://127.0.0.1/ws", { WebSocket: Nothing })
for (const kind of ["connected", "disconnected", "reconnected", "lost"]) {
  client.on(kind, detail => told.push([kind, detail]))
}
const live = () => timers.filter(timer => timer.call)
const fire = () => { // the timer that was set last
  const timer = live().at(-1), call = timer.call
  timer.call = null
  call()
}
const turn = () => new Promise(done => setImmediate(done))
"""


def ran(folder: Path, script: str) -> Any:
    """Run a script, and return what it found in ``found``."""
    text = START.replace("MODULE", json.dumps(MODULE.as_uri())) + script
    (folder / "script.mjs").write_text(text + "\nconsole.log(JSON.stringify(found))")
    ended = subprocess.run(
        [node(), str(folder / "script.mjs")],
        capture_output=True,
        text=True,
        timeout=patience(),
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_it_connects_again_less_and_less_often(tmp_path: Path) -> None:
    """After a quarter of a second, give or take a half of it, then twice that, up to 15 s or so."""
    script = """
    const found = []
    for (let i = 0; i < 10; i++) {
      sockets.at(-1).onclose({ code: 1006, reason: "" })
      found.push(live().at(-1).after)
      fire()
    }
    """
    expected = [250, 500, 1000, 2000, 4000, 8000, *[15_000] * 4]
    for after, mean in zip(ran(tmp_path, script), expected, strict=True):
        assert mean / 2 <= after <= mean * 1.5


def test_signs_of_life_are_asked_for_after_ten_seconds(tmp_path: Path) -> None:
    """Ten more without one, and the connection is given up, for another one."""
    script = """
    let now = 0
    performance.now = () => now
    welcome("s", false)
    const found = [live().at(-1).after]
    now += 10000; fire()
    found.push(sockets[0].sent.at(-1), live().at(-1).after)
    sockets[0].get("pong")
    now += 10000; fire()
    found.push(sockets[0].closed ?? false)
    now += 10000; fire()
    found.push(sockets[0].closed ?? false, told.map(([kind]) => kind))
    fire()
    found.push(sockets.length)
    """
    found = ran(tmp_path, script)
    assert found == [10_000, ["ping"], 10_000, False, True, ["connected", "disconnected"], 2]


def test_a_page_that_was_held_up_asks_once_more(tmp_path: Path) -> None:
    """What has come may wait for the page itself, so the first late look gives nothing up."""
    script = """
    let now = 0
    performance.now = () => now
    welcome("s", false)
    now += 10000; fire()
    now += 60000; fire()
    const found = [sockets[0].closed ?? false, sockets[0].sent.slice(1)]
    now += 60000; fire()
    found.push(sockets[0].closed ?? false)
    """
    assert ran(tmp_path, script) == [False, [["ping"], ["ping"]], True]


def test_what_has_no_reply_when_the_session_is_gone_is_unknown(tmp_path: Path) -> None:
    """It may have been done, so it fails. What the page asked for since then is sent."""
    script = """
    const found = {}
    const noted = (name, promise) => promise.then(
      value => { found[name] = value }, error => { found[name] = error.reason })
    client.exchange("news").attach(() => {})
    welcome("first", false)
    sockets[0].get("done", 1, 1, null)
    noted("send", client.exchange("a").send("x"))
    noted("request", client.exchange("b").request("y"))
    sockets[0].onclose({ code: 1006, reason: "" })
    noted("later", client.exchange("c").send("z"))
    fire()
    welcome("second", false)
    await turn()
    found.frames = sockets[1].sent.slice(1).map(frame => frame.slice(0, 2))
    found.told = told.map(([kind, { unknown, resumed }]) => [kind, unknown ?? resumed ?? null])
    """
    found = ran(tmp_path, script)
    assert (found["send"], found["request"], found.get("later")) == ("unknown", "unknown", None)
    assert found["frames"] == [["attach", 1], ["send", 2]]
    assert found["told"] == [
        ["connected", False],
        ["disconnected", None],
        ["lost", True],
        ["reconnected", False],
    ]


def test_a_session_that_goes_on_sends_what_was_not_taken(tmp_path: Path) -> None:
    """The frames above the last one that was taken, under their numbers; none fails."""
    script = """
    const found = []
    welcome("s", false)
    for (const text of ["x", "y"]) {
      client.exchange("a").send(text).then(() => found.push(text), () => found.push("failed"))
    }
    sockets[0].onclose({ code: 1006, reason: "" })
    fire()
    welcome("s", true, 1)
    found.push(sockets[1].sent.slice(1))
    sockets[1].get("done", 1, 1, null)
    sockets[1].get("done", 2, 2, null)
    await turn()
    """
    assert ran(tmp_path, script) == [[["send", 2, "a", "y"]], "x", "y"]
