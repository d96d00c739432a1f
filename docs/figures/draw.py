"""Draws the figures of the docs, as SVG: `python docs/figures/draw.py` writes them all anew.

Boxes, arrows and words at given places, and nothing but the standard library. A test sees
that the files are what this draws. Each has colours for light pages and for dark ones: browsers
pass on which of them an image is in. It has a ground of its own too, so that it can be read
where the wrong ones are chosen.
"""

from html import escape
from pathlib import Path

HERE = Path(__file__).parent
LIGHT = {
    "ground": ("#fbfaf7", "none"),
    "ink": ("#22262b", "none"),
    "faint": ("#616971", "none"),
    "line": ("none", "#7f8890"),
    "head": ("#7f8890", "none"),
    "plain": ("#ffffff", "#b9c0c7"),
    "room": ("#f0f2f4", "#d5dadf"),
    "ours": ("#e3ebfb", "#5b7fd1"),
    "waits": ("#f0f2f4", "#b9c0c7"),
    "good": ("#e4f2e6", "#5a9e66"),
}
"""By class of shape, its inside and its edge."""
DARK = {
    "ground": ("#14181f", "none"),
    "ink": ("#e2e6ea", "none"),
    "faint": ("#a3acb6", "none"),
    "line": ("none", "#8792a0"),
    "head": ("#8792a0", "none"),
    "plain": ("#242b35", "#56606c"),
    "room": ("#1b2028", "#343c46"),
    "ours": ("#223661", "#7296ea"),
    "waits": ("#1b2028", "#56606c"),
    "good": ("#1e3a28", "#62ab70"),
}
"""The same on a dark page."""
SIZE = 14


def rules(colours: dict[str, tuple[str, str]]) -> str:
    """Return the rules of a style sheet that give each class its colours."""
    return "\n".join(
        f".{name} {{ fill: {inside}; stroke: {edge} }}" for name, (inside, edge) in colours.items()
    )


class Figure:
    """A drawing of a width and a height, in pixels; x grows to the right, y downwards."""

    def __init__(self, name: str, width: int, height: int, title: str) -> None:
        self.name, self.width, self.height, self.title = name, width, height, title
        self._parts: list[str] = []

    def box(self, x: int, y: int, w: int, h: int, text: str = "", kind: str = "plain") -> None:
        """A box with its text in the middle, lines apart; that of a room is on its top."""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" class="{kind}"/>'
        )
        lines = text.split("\n")
        if kind == "room":
            return self.words(x + 14, y + 16, text, faint=True, anchor="start")
        top = y + h / 2 - (len(lines) - 1) * 9
        for n, line in enumerate(lines if text else []):
            self.words(x + w / 2, top + n * 18, line)
        return None

    def words(
        self, x: float, y: float, text: str, *, faint: bool = False, anchor: str = "middle"
    ) -> None:
        """A line of text whose middle is at a point; what is in backticks is code."""
        code = text.startswith("`")
        family = "ui-monospace, monospace" if code else "system-ui, sans-serif"
        size = SIZE - 1 if code or faint else SIZE
        shade = "faint" if faint else "ink"
        self._parts.append(
            f'<text x="{x:g}" y="{y + 5:g}" text-anchor="{anchor}" font-family="{family}" '
            f'font-size="{size}" class="{shade}">{escape(text.strip("`"))}</text>'
        )

    def arrow(
        self,
        *points: tuple[float, float],
        text: str = "",
        at: tuple[float, float] | None = None,
        both: bool = False,
        dashed: bool = False,
        head: bool = True,
    ) -> None:
        """A line through points, with a head at its end, and words at a place."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        ends = ' marker-end="url(#head)"' * head + ' marker-start="url(#head)"' * both
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self._parts.append(
            f'<polyline points="{path}" class="line" stroke-width="1.6"{dashes}{ends}/>'
        )
        if text:
            (x0, y0), (x1, y1) = points[0], points[-1]
            x, y = at or ((x0 + x1) / 2, (y0 + y1) / 2 - 12)
            self.words(x, y, text, faint=True)

    def svg(self) -> str:
        """Return the whole file."""
        head = (
            '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            'markerHeight="7" orient="auto-start-reverse">'
            '<path d="M0,0 L10,5 L0,10 z" class="head"/></marker>'
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<style>\n{rules(LIGHT)}",
                f"@media (prefers-color-scheme: dark) {{\n{rules(DARK)}\n}}\n</style>",
                f"<defs>{head}</defs>",
                f'<rect width="{self.width}" height="{self.height}" rx="12" class="ground"/>',
                *self._parts,
                "</svg>\n",
            ]
        )


def federation() -> Figure:
    """What the start page shows: one name, one channel."""
    f = Figure("federation", 760, 270, "One name is one channel, in every process of a federation")
    f.box(20, 20, 470, 230, "host north", "room")
    f.box(510, 20, 230, 230, "host south", "room")
    programs = [
        (40, "publish.py", "sends"),
        (265, "listen.py", "prints"),
        (530, "listen.py", "prints"),
    ]
    for x, who, what in programs:
        f.box(x, 62, 190, 168)
        f.words(x + 95, 82, who)
        f.box(x + 20, 102, 150, 38, "`prices`", "ours")
        f.box(x + 45, 178, 100, 34, what)
        down = ((x + 95, 141), (x + 95, 177))
        f.arrow(*(reversed(down) if what == "sends" else down))
    f.arrow((211, 121), (284, 121), both=True)
    f.arrow((436, 121), (549, 121), both=True)
    f.arrow((196, 101), (196, 46), (564, 46), (564, 101), both=True)
    return f


def way() -> Figure:
    """Which thread calls what."""
    f = Figure("way", 760, 250, "Which thread calls which task")
    f.box(20, 20, 320, 210, "your process", "room")
    f.box(430, 20, 310, 210, "another process", "room")
    f.box(40, 56, 110, 44, "`send(msg)`")
    f.box(210, 56, 110, 44, "node", "ours")
    f.arrow((150, 78), (209, 78))
    f.box(40, 160, 110, 44, "local tasks")
    f.arrow((95, 100), (95, 159), text="sender's thread", at=(152, 130))
    f.box(450, 56, 110, 44, "data thread", "ours")
    f.arrow((320, 78), (449, 78), text="ZeroMQ", at=(385, 64))
    f.box(620, 56, 100, 44, "tasks")
    f.arrow((560, 78), (619, 78))
    f.box(445, 160, 120, 44, "stream, queue,\nto_thread", "good")
    f.arrow((505, 100), (505, 159), text="at once", at=(534, 130))
    f.box(620, 160, 100, 44, "slow work")
    f.arrow((565, 182), (619, 182))
    f.words(590, 218, "its own thread or loop", faint=True)
    return f


def window() -> Figure:
    """How a message that was missed is had after all."""
    f = Figure("window", 760, 256, "A message that was missed is asked for again")
    f.words(30, 36, "sender", anchor="start")
    f.words(30, 56, "keeps what it has sent", faint=True, anchor="start")
    f.words(30, 206, "receiver", anchor="start")
    for n in range(1, 6):
        x = 110 + n * 106
        f.box(x, 26, 60, 40, str(n), "ours")
        f.box(x, 186, 60, 40, str(n), "plain" if n < 3 else "good" if n == 3 else "waits")
        if n == 3:
            f.arrow((x + 30, 66), (x + 30, 100), head=False)
            f.words(x + 30, 114, "lost", faint=True)
        else:
            f.arrow((x + 30, 66), (x + 30, 185))
    f.arrow(
        (428, 206), (398, 206), (398, 46), (427, 46), text="ask for 3", at=(430, 150), dashed=True
    )
    f.arrow((488, 46), (514, 46), (514, 206), (489, 206), text="3 again", at=(540, 150))
    f.words(617, 242, "kept back until 3 is there", faint=True)
    return f


def web() -> Figure:
    """A chat of two workers."""
    f = Figure("web", 760, 236, "Two worker processes, and the browsers that each of them serves")
    f.box(20, 106, 720, 114, "", "room")
    f.words(34, 204, "one host, one command: uvicorn --workers 2", faint=True, anchor="start")
    for who, x, words, pill in (("worker 1", 60, 66, 150), ("worker 2", 430, 204, 20)):
        f.box(x, 122, 270, 58)
        f.words(x + words, 151, who)
        f.box(x + pill, 132, 100, 38, "`chat`", "ours")
        for n in (0, 1):
            tab = x + 10 + n * 140
            f.box(tab, 20, 110, 36, "browser tab")
            f.arrow((tab + 55, 56), (x + pill + 30 + n * 40, 131), both=True)
    f.arrow((310, 151), (450, 151), both=True)
    f.words(380, 76, "WebSockets", faint=True)
    return f


def hub() -> Figure:
    """A mesh beside a hub."""
    f = Figure("hub", 760, 270, "A mesh, and a hub")
    corners = [(60, 50), (240, 50), (60, 190), (240, 190)]
    centres = [(x + 40, y + 20) for x, y in corners]
    for n, one in enumerate(centres):
        for other in centres[n + 1 :]:
            f.arrow(one, other, head=False)
    for x, y in corners:
        f.box(x, y, 80, 40, "node")
    f.words(190, 252, "a mesh: everybody to everybody", faint=True)
    for x, y in corners:
        f.arrow((x + 420, y + 20), (570, 140), head=False)
    for x, y in corners:
        f.box(x + 380, y, 80, 40, "node")
    f.box(530, 118, 80, 44, "hub", "ours")
    f.words(570, 252, "a hub: everybody to one", faint=True)
    return f


def out() -> Figure:
    """The way of a message out, for maintainers."""
    f = Figure("out", 760, 498, "The way of a message out")
    f.box(60, 20, 250, 48, "Exchange.send(msg)\ncaller's thread")
    f.box(60, 116, 250, 48, "Bridge.send\nencode, check the size", "ours")
    f.arrow((185, 68), (185, 115), text="bridge first", at=(234, 92))
    f.box(530, 20, 210, 48, "every local task")
    f.arrow((310, 44), (529, 44), text="then")
    f.box(60, 212, 250, 48, "Publisher.see_to\nunless it is seen to", "ours")
    f.arrow((185, 164), (185, 211), text="append to the exchange's list", at=(292, 188))
    f.box(60, 318, 250, 48, "Publisher._drain\nif nobody has the socket", "ours")
    f.arrow(
        (185, 260), (185, 317), text="nothing sent a moment ago, or much is queued", at=(350, 288)
    )
    f.box(530, 212, 210, 48, "sender thread", "ours")
    f.arrow((310, 236), (529, 236), text="a moment ago, or handed over", at=(420, 222))
    f.box(60, 414, 250, 64, "SendQueue.send\nnumber, join into one\nframe an exchange", "ours")
    f.arrow((185, 366), (185, 413))
    f.arrow((640, 260), (640, 388), (250, 388), (250, 413))
    f.box(530, 422, 210, 48, "Publisher.put\nXPUB, then Window.keep", "ours")
    f.arrow((310, 446), (529, 446))
    return f


def way_in() -> Figure:
    """The way of a message in, for maintainers."""
    f = Figure("in", 760, 440, "The way of a message in")
    f.box(40, 20, 260, 40, "SUB, one a peer")
    f.box(40, 100, 260, 48, "Receiver._read\nup to 64 frames, then the next peer", "ours")
    f.arrow((170, 60), (170, 99))
    f.box(40, 188, 260, 48, "PeerReceiver.take: read_data\nthe origin must be this peer", "ours")
    f.arrow((170, 148), (170, 187))
    f.box(470, 100, 250, 48, "_acknowledge →\nEngine.consumed")
    f.arrow((300, 200), (380, 200), (380, 124), (469, 124), text="count 0: a beacon", at=(450, 166))
    f.box(470, 188, 250, 48, "Recovery.park,\nthen Ask over control", "waits")
    f.arrow((300, 222), (469, 222), text="before its turn", at=(390, 238))
    f.box(40, 284, 260, 48, "ReceiveState.receive\nnew or repeated", "ours")
    f.arrow((170, 236), (170, 283))
    f.arrow(
        (595, 236),
        (595, 296),
        (301, 296),
        text="the gap is closed, or given up",
        at=(480, 282),
        dashed=True,
    )
    f.box(470, 330, 250, 36, "dropped, counted")
    f.arrow((300, 322), (380, 322), (380, 348), (469, 348), text="nothing new", at=(426, 334))
    f.box(40, 380, 260, 40, "decode_frame", "ours")
    f.arrow((170, 332), (170, 379))
    f.box(470, 378, 250, 48, "Exchange: every task\nbut bridges and exchanges", "good")
    f.arrow((300, 402), (469, 402))
    return f


def joining() -> Figure:
    """Who says what when a node joins, for maintainers."""
    f = Figure("joining", 760, 470, "How a newcomer and a node become peers")
    a, b = 180, 580
    f.box(a - 90, 20, 180, 36, "A, the newcomer")
    f.box(b - 90, 20, 180, 36, "B")
    f.arrow((a, 56), (a, 450), head=False, dashed=True)
    f.arrow((b, 56), (b, 450), head=False, dashed=True)
    f.box(b - 150, 138, 170, 44, "knows A: subscribes\nto A's data, dials A", "waits")
    f.box(a - 20, 206, 220, 44, "knows B: subscribes to\nB's data, dials whom B knows", "waits")
    said = [
        (88, True, "hello, on the link of A (DEALER to ROUTER)"),
        (122, False, "welcome, on the same link, with whom B knows"),
        (280, False, "hello, on the link of B"),
        (312, True, "welcome"),
        (344, True, "SUB to XPUB: A's keys, then A's token"),
        (376, False, "ready, with B's heads"),
        (408, False, "SUB to XPUB: B's keys, then B's token"),
        (440, True, "ready, with A's heads"),
    ]
    for y, from_a, words in said:
        f.arrow((a if from_a else b, y), (b if from_a else a, y), text=words)
    return f


FIGURES = (federation, way, window, web, hub, out, way_in, joining)


def main() -> None:
    """Write every figure beside this file."""
    for figure in (make() for make in FIGURES):
        (HERE / f"{figure.name}.svg").write_text(figure.svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
