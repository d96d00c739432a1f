"""What web.md says of its page in the browser, by the page's own script: a worker is killed."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import pages
from tests.support import ROOT, patience

NODE = shutil.which("node") or shutil.which("nodejs")
STUBS = """
const made = [], timers = []
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
const element = () => ({value: "", append() {}, textContent: ""})
const elements = {form: element(), text: element(), said: element(), who: element()}
const document = {createElement: element, getElementById: id => elements[id]}
const location = {host: "here"}
const {form, text, said} = elements
const setTimeout = (call, ms) => timers.push(call)
"""
STORY = """
const submit = () => form.onsubmit({preventDefault() {}})
elements.who.value = "Ada"
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


def script(page: str) -> str:
    found = re.search(r"<script>(.*?)</script>", page, re.S)
    assert found
    return found[1]


GUIDE = {block.file: block.text for block in pages.blocks(ROOT / "docs" / "guide" / "web.md")}
EXAMPLE = (ROOT / "examples" / "web" / "chat.html").read_text()


@pytest.mark.sockets  # it starts a process
@pytest.mark.parametrize("page", [GUIDE["chat.html"], EXAMPLE], ids=["guide", "example"])
def test_clients_connect_again_and_keep_what_is_typed(tmp_path: Path, page: str) -> None:
    """As often as it takes; nothing is sent to a connection that is not open."""
    if NODE is None:
        pytest.skip("needs node")
    program = tmp_path / "page.js"
    program.write_text(STUBS + "{\n" + script(page) + "}\n" + STORY)
    done = subprocess.run([NODE, program], capture_output=True, text=True, timeout=patience(30))
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen == {"typed": "two", "left": "", "sent": [1, 0, 1]}


def test_the_page_does_so_as_it_stands() -> None:
    """Also where there is no node to run it."""
    for page in (GUIDE["chat.html"], EXAMPLE):
        assert re.search(r"onclose = .*setTimeout\(connect", page)
        assert re.search(r"readyState !== WebSocket.OPEN\) return", page)
