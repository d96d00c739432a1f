// One exchange live: its rates over the last minute, the sizes of its messages, and the messages.

import { count, el, svg, text } from "./dom.js"

const SECONDS = 60
const LINES = 100
const [HEIGHT, LEFT, BOTTOM, TOP] = [190, 46, 22, 8]

export class Exchange {
  constructor(ask, name) {
    this.say = ask
    this.name = name
    this.rates = [] // [seconds, rate]
    this.skipped = 0
    this.title = el("h2", { id: "title" }, "…")
    this.figures = el("dl", { class: "tiles" })
    this.ends = el("p", { class: "ends" })
    this.chart = svg("svg", {
      role: "img", "aria-labelledby": "rates-said",
    })
    this.said = el("figcaption", { id: "rates-said", class: "muted" }, "Waiting for two looks …")
    this.sizes = el("ol", { class: "bars" })
    this.sized = el("p", { class: "muted" }, "No message yet.")
    this.lines = el("ol", { class: "tail", role: "log", "aria-live": "off", tabindex: 0, "aria-label": "Latest messages" })
    this.left = el("p", { class: "muted" }, "Waiting for a message …")
    this.pause = el("button", { type: "button", "aria-pressed": "false", onclick: () => this.hold() }, "Pause")
    this.root = el("section", { class: "view", "aria-labelledby": "title" },
      el("p", { class: "back" }, el("a", { href: "#/exchanges" }, "← All exchanges")),
      el("div", { class: "title" }, this.title), this.ends, this.figures,
      el("div", { class: "two" },
        el("figure", { class: "card" }, el("h3", {}, "Messages a second, last minute"), this.chart, this.said),
        el("div", { class: "card" }, el("h3", {}, "Sizes"), this.sizes, this.sized)),
      el("div", { class: "card" },
        el("div", { class: "title" }, el("h3", {}, "Latest messages"), this.pause), this.left, this.lines))
  }

  ask() {
    this.say({ view: "exchange", name: this.name })
  }

  hold() {
    const held = this.pause.getAttribute("aria-pressed") !== "true"
    this.pause.setAttribute("aria-pressed", String(held))
    text(this.pause, held ? "Go on" : "Pause")
  }

  told({ exchange, tail }) {
    if (exchange) this.facts(exchange)
    if (tail) this.tail(tail)
  }

  facts(told) {
    if (told.fault) {
      text(this.left, told.fault)
      text(this.said, told.fault)
      return
    }
    text(this.title, told.title)
    const list = (names) => names.join(", ") || "nobody"
    text(this.ends, told.there
      ? `${list(told.senders)} → ${list(told.listeners)}` : "Nothing has flowed here yet.")
    if (this.figures.children.length !== told.figures.length) {
      this.figures.replaceChildren(...told.figures.map(([title, , meaning]) =>
        el("div", { title: meaning || null }, el("dt", {}, title), el("dd", {}))))
    }
    told.figures.forEach(([title, value], n) => {
      const tile = this.figures.children[n]
      text(tile.lastChild, value)
      tile.classList.toggle("lost", title === "Lost" && told.lost)
    })
    const now = performance.now() / 1000
    if (told.rate !== null) this.rates.push([now, told.rate])
    this.rates = this.rates.filter(([at]) => now - at <= SECONDS + 2)
    this.draw(now)
  }

  draw(now) {
    const width = Math.max(200, this.chart.clientWidth)
    this.chart.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`)
    const most = nice(Math.max(1, ...this.rates.map(([, rate]) => rate)))
    const x = (at) => LEFT + (width - LEFT - 4) * (1 - (now - at) / SECONDS)
    const y = (rate) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - rate / most)
    const points = this.rates.map(([at, rate]) => `${Math.max(LEFT, x(at)).toFixed(1)},${y(rate).toFixed(1)}`)
    const grid = [0, 0.5, 1].map((part) => [
      svg("line", { class: "grid", x1: LEFT, x2: width - 4, y1: y(most * part), y2: y(most * part) }),
      svg("text", { x: LEFT - 6, y: y(most * part) + 4, "text-anchor": "end" }, short(most * part)),
    ])
    const times = (width < 420 ? [60, 30, 0] : [60, 45, 30, 15, 0]).map((ago) => svg("text", {
      x: x(now - ago), y: HEIGHT - 5,
      "text-anchor": ago === 60 ? "start" : ago ? "middle" : "end",
    }, ago ? `−${ago} s` : "now"))
    const line = points.length > 1 ? [
      svg("polygon", {
        class: "area",
        points: `${points[0].split(",")[0]},${y(0)} ${points.join(" ")} ${points.at(-1).split(",")[0]},${y(0)}`,
      }),
      svg("polyline", { class: "line", points: points.join(" ") })] : []
    this.chart.replaceChildren(...grid.flat(), ...times, ...line)
    const rates = this.rates.map(([, rate]) => rate)
    if (rates.length) {
      text(this.said, `Now ${short(rates.at(-1))}, at most ${short(Math.max(...rates))}, at least ${short(Math.min(...rates))}.`)
    }
  }

  tail({ lines, skipped, lost, sizes }) {
    const most = Math.max(1, ...sizes.map(([, number]) => number))
    const total = sizes.reduce((sum, [, number]) => sum + number, 0)
    this.sizes.replaceChildren(...sizes.map(([title, number]) => {
      const bar = el("progress", { max: most, value: number, "aria-hidden": "true" })
      return el("li", {}, el("span", {}, title), bar, el("span", {}, `${Math.round((100 * number) / total)} %`))
    }))
    if (total) text(this.sized, `Of ${count(total, "message", "messages")} that were looked at.`)
    if (this.pause.getAttribute("aria-pressed") === "true") {
      this.skipped += skipped + lines.length
    } else {
      this.skipped += skipped
      const fresh = lines.map((line) => el("li", {},
        el("time", {}, line.at), el("span", { class: "from" }, line.from),
        el("span", { class: "size" }, line.size), el("code", {}, line.text)))
      this.lines.prepend(...fresh.reverse())
      while (this.lines.children.length > LINES) this.lines.lastChild.remove()
    }
    const gone = lost ? ` ${count(lost, "message was", "messages were")} lost on the way here.` : ""
    if (this.lines.children.length) {
      text(this.left, this.skipped
        ? `${count(this.skipped, "message is", "messages are")} not shown: there are too many to read.${gone}`
        : `Every message since this view was opened.${gone}`)
    }
  }
}

function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value))
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value)
}

function short(value) {
  if (value >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`
  if (value >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`
  return String(value < 10 ? +value.toFixed(1) : Math.round(value))
}
