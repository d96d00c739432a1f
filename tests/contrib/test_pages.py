"""What web.md and fastapi.md say of pages in the browser, by their own scripts: workers end."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import pages
from tests.support import ROOT, patience

NODE = shutil.which("node") or shutil.which("nodejs")
STUBS = """
const made = [], timers = [], sources = []
class WebSocket {
  static OPEN = 1
  readyState = 0
  sent = []
  constructor(url) { this.url = url; made.push(this) }
  send(text) {
    if (this.readyState !== 1) throw new Error("not open")
    this.sent.push(text)
  }
}
class EventSource {
  static CLOSED = 2
  readyState = 0
  constructor(url) { sources.push(this) }
}
const element = () => ({
  value: "", textContent: "", children: [], append(child) { this.children.push(child) }
})
const elements = {}
for (const id of ["form", "text", "said", "notices", "you", "worker"]) elements[id] = element()
const document = {createElement: element, getElementById: id => elements[id]}
const location = {host: "here", origin: "http://here"}
const {form, text, said} = elements
const setTimeout = (call, ms) => timers.push(call)
"""
STORY = """
const submit = () => form.onsubmit({preventDefault() {}})
made[0].readyState = 1
text.value = "one"; submit()
made[0].readyState = 3; made[0].onclose()          // its worker is killed
text.value = "two"; submit()
const typed = text.value
timers.shift()()
made[1].readyState = 3; made[1].onclose()          // nobody is there yet
timers.shift()()
submit()
made[2].readyState = 1; submit()
console.log(JSON.stringify({typed, left: text.value, sent: made.map(s => s.sent.length)}))
"""
AGAIN = """
const say = (id, text) => ({data: JSON.stringify({id, who: "Ada", text, worker: 1})})
made[0].onmessage({data: JSON.stringify({you: "Ada", worker: 1})})
made[0].onmessage(say("a", "one"))
made[0].onclose(); timers.shift()()
made[1].onmessage(say("a", "one"))                 // from the history
made[1].onmessage(say("b", "two"))
sources[0].onerror()                               // it connects again by itself
const waiting = timers.length
sources[0].onmessage(say("c", "three"))
sources[0].onmessage({data: JSON.stringify({missed: 4})})
sources[0].readyState = 2; sources[0].onerror()    // refused
timers.shift()()
sources[1].onmessage(say("c", "three"))
const lines = at => elements[at].children.map(line => line.children[1].textContent)
console.log(JSON.stringify({waiting, said: lines("said"), notices: lines("notices")}))
"""


def script(page: str) -> str:
    found = re.search(r"<script>(.*?)</script>", page, re.S)
    assert found
    return found[1]


GUIDE = {block.file: block.text for block in pages.blocks(ROOT / "docs" / "guide" / "web.md")}
EXAMPLE = (ROOT / "examples" / "web" / "chat.html").read_text()


def run(folder: Path, page: str, story: str) -> Any:
    """Return what a story prints that happens to a page."""
    if NODE is None:
        pytest.skip("needs node")
    program = folder / "page.js"
    program.write_text(STUBS + "{\n" + script(page) + "}\n" + story)
    done = subprocess.run([NODE, program], capture_output=True, text=True, timeout=patience(30))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.sockets  # it starts a process
@pytest.mark.parametrize("page", [GUIDE["chat.html"], EXAMPLE], ids=["guide", "example"])
def test_clients_connect_again_and_keep_what_is_typed(tmp_path: Path, page: str) -> None:
    """As often as it takes; nothing is sent to a connection that is not open."""
    seen = run(tmp_path, page, STORY)
    assert seen == {"typed": "two", "left": "", "sent": [1, 0, 1]}


@pytest.mark.sockets  # it starts a process
def test_each_message_is_shown_once(tmp_path: Path) -> None:
    """Though the last ones come again. What was missed is said; a refused source tries again."""
    seen = run(tmp_path, EXAMPLE, AGAIN)
    notices = ["three", "4 messages were missed"]
    assert seen == {"waiting": 0, "said": ["one", "two"], "notices": notices}


def test_the_page_does_so_as_it_stands() -> None:
    """Also where there is no node to run it."""
    for page in (GUIDE["chat.html"], EXAMPLE):
        assert re.search(r"onclose = .*(setTimeout|soon)\(connect", page)
        assert re.search(r"readyState !== WebSocket.OPEN\) return", page)
