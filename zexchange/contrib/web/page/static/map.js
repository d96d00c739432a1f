// The map: nodes, and what flows between them.

import { el, short, svg, text } from "./dom.js"
import { layout, line } from "./layout.js"

const LABELS_MOST = 16
const LISTED = 50
const LABEL_GAP = 110

export class FlowMap {
  constructor(ask) {
    this.say = ask
    this.selected = null
    this.nodes = new Map()
    this.lines = new Map()
    this.drawing = svg("svg", { class: "map", role: "group", "aria-label": "Map of nodes. The flows are listed in the table below" })
    this.hint = el("p", { class: "muted", role: "status" }, "Looking …")
    this.panel = el("aside", { class: "card facts", hidden: true, "aria-live": "polite" })
    this.body = el("tbody", {})
    this.table = el("div", { class: "card scroll", hidden: true, tabindex: 0, role: "region", "aria-label": "Table of flows" },
      el("table", {}, el("thead", {}, el("tr", {},
        ["From", "To", "Msg/s", "Exchanges", "Lost"].map((title, n) =>
          el("th", { scope: "col", class: n < 2 ? "left" : "" }, title)))), this.body))
    this.frame = el("div", { class: "card canvas" }, this.drawing)
    this.root = el("section", { class: "view", "aria-labelledby": "title" },
      el("h2", { id: "title" }, "Map"), this.hint,
      this.frame, this.panel,
      el("h3", { class: "list" }, "Flows"), this.table)
    this.resized = new ResizeObserver(() => {
      if (this.last && this.frame.clientWidth !== this.wide) this.draw(this.last)
    })
    this.resized.observe(this.frame)
  }

  ask() {
    this.say({ view: "map" })
  }

  leave() {
    this.resized.disconnect()
  }

  told({ map }) {
    if (!map) return
    this.last = map
    this.draw(map)
    this.list(map)
    this.facts()
  }

  draw(map) {
    const wide = this.frame.clientWidth
    const shape = JSON.stringify([wide, map.nodes.map(({ id }) => id), map.flows.map(({ from, to }) => from + to).sort()])
    if (shape !== this.shape) {
      this.shape = shape
      this.wide = wide
      this.place(map)
    }
    for (const node of map.nodes) this.paintNode(node)
    for (const flow of map.flows) this.paintFlow(flow, map.flows.length)
    this.mark()
    const hidden = map.more_flows || map.more_nodes
      ? ` Not drawn: ${map.more_flows} smaller flows and ${map.more_nodes} nodes.` : ""
    text(this.hint, map.nodes.length
      ? `Each line is what one node sends and another is given; a wider one is more.${hidden}`
      : "No other node is here.")
  }

  place(map) {
    const plan = layout(map.nodes, map.flows, Math.max(300, this.wide - 2))
    this.plan = plan
    const focused = [...this.nodes].find(([, { root }]) => root === document.activeElement)?.[0]
    this.nodes.clear()
    this.lines.clear()
    const arrow = (id) => svg("marker", {
      id, viewBox: "0 0 8 8", refX: 2, refY: 4, markerWidth: 9, markerHeight: 9,
      orient: "auto", markerUnits: "userSpaceOnUse",
    }, svg("path", { d: "M0 0.5L7.5 4L0 7.5z" }))
    this.drawing.setAttribute("viewBox", `0 0 ${plan.width} ${plan.height}`)
    this.drawing.setAttribute("width", plan.width)
    this.drawing.setAttribute("height", plan.height)
    const flows = map.flows.map((flow) => this.line(flow))
    const labels = map.flows.map(({ from, to }) => this.lines.get(from + to).label)
    this.drawing.replaceChildren(
      svg("defs", {}, arrow("arrow"), arrow("arrow-lost"), arrow("arrow-idle")),
      ...(plan.quietAt === null ? [] : [svg("text", { class: "caption", x: 10, y: plan.quietAt + 4 }, "Nothing flows here")]),
      ...flows, ...map.nodes.map((node) => this.node(node)), ...labels)
    if (focused) this.nodes.get(focused)?.root.focus()
  }

  line(flow) {
    const { d, x, y, anchor } = line(this.plan, flow.from, flow.to)
    const base = svg("path", { class: "base", d })
    const moving = svg("path", { class: "moving", d })
    const label = svg("text", { class: "label", x, y, "text-anchor": anchor, "aria-hidden": "true" })
    const title = svg("title", {})
    const root = svg("g", { class: "flow" }, title, base, moving)
    this.lines.set(flow.from + flow.to, { root, base, moving, label, title, flow })
    return root
  }

  node({ id }) {
    const { x, y, high } = this.plan.at.get(id)
    const { wide } = this.plan
    const small = high < 40
    const name = svg("text", { class: "name", y: small ? 4 : -3, "text-anchor": "middle" })
    const rate = svg("text", { class: "rate", y: 14, "text-anchor": "middle" })
    const badge = svg("circle", { class: "badge", cx: wide / 2 - 2, cy: -high / 2 + 2, r: 6 })
    const select = () => this.select(this.selected === id ? null : id)
    const root = svg("g", {
      class: "node", tabindex: 0, role: "button", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`,
      onclick: select,
      onkeydown: (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault()
          select()
        } else if (event.key === "Escape") this.select(null)
      },
    }, svg("rect", { x: -wide / 2, y: -high / 2, width: wide, height: high, rx: 10 }), name, small ? [] : rate, badge)
    this.nodes.set(id, { root, name, rate })
    return root
  }

  paintNode(node) {
    const { root, name, rate } = this.nodes.get(node.id)
    text(name, short(node.name, Math.floor(this.plan.wide / 8)))
    text(rate, `↑ ${node.out}  ↓ ${node.in}`)
    const trouble = node.lost || node.slow || node.state !== "ok"
    root.classList.toggle("trouble", Boolean(trouble))
    const told = [
      node.lost ? `${node.lost} messages lost` : "", node.slow ? "has slow peers" : "",
      node.state === "ok" ? "" : node.state,
    ].filter(Boolean).join(", ")
    root.setAttribute("aria-label",
      `${node.name}: sends ${node.out}, is given ${node.in} messages a second${told ? `. ${told}` : ""}`)
    root.setAttribute("aria-pressed", String(node.id === this.selected))
  }

  paintFlow(flow, number) {
    const drawn = this.lines.get(flow.from + flow.to)
    drawn.flow = flow
    const { root, base, moving, label, title } = drawn
    const idle = flow.rate === 0
    base.setAttribute("stroke-width", idle ? 1 : (1.5 + 1.6 * Math.log10(1 + flow.rate)).toFixed(1))
    moving.dataset.speed = idle ? 0 : Math.min(5, 1 + Math.floor(Math.log10(1 + flow.rate)))
    root.classList.toggle("idle", idle)
    root.classList.toggle("lossy", flow.lost > 0)
    base.setAttribute("marker-end", `url(#arrow${flow.lost ? "-lost" : idle ? "-idle" : ""})`)
    text(label, number <= LABELS_MOST && this.plan.gap >= LABEL_GAP && !idle ? `${flow.shown}/s${flow.lost ? ` · ${flow.lost} lost` : ""}` : "")
    label.classList.toggle("lossy", flow.lost > 0)
    text(title, `${flow.names[0]} → ${flow.names[1]}: ${flow.shown} msg/s, exchanges: ${flow.exchanges}, lost: ${flow.lost}`)
  }

  select(id) {
    this.selected = id
    for (const [other, { root }] of this.nodes) root.setAttribute("aria-pressed", String(other === id))
    this.mark()
    this.facts()
  }

  // Fades what has nothing to do with the selected node.
  mark() {
    const one = this.nodes.has(this.selected) ? this.selected : null
    for (const { root, label, flow } of this.lines.values()) {
      const off = one !== null && flow.from !== one && flow.to !== one
      root.classList.toggle("off", off)
      label.classList.toggle("off", off)
    }
  }

  facts() {
    const node = this.last?.nodes.find(({ id }) => id === this.selected)
    this.panel.hidden = !node
    if (!node) return
    if (this.panel.dataset.id !== node.id) {
      this.panel.dataset.id = node.id
      this.panel.replaceChildren(
        el("h3", {}, node.name),
        el("dl", {}, node.facts.flatMap(([name]) => [el("dt", {}, name), el("dd", {})])),
        el("button", { type: "button", onclick: () => this.select(null) }, "Close"))
    }
    node.facts.forEach(([, value], n) => text(this.panel.querySelectorAll("dd")[n], value))
  }

  list(map) {
    const rows = map.flows.slice(0, LISTED)
    this.table.hidden = !rows.length
    while (this.body.children.length > rows.length) this.body.lastChild.remove()
    while (this.body.children.length < rows.length) {
      this.body.append(el("tr", {}, [0, 1, 2, 3, 4].map((n) => el("td", { class: n < 2 ? "left" : "" }))))
    }
    rows.forEach((flow, n) => {
      const cells = [...flow.names, flow.shown, String(flow.exchanges), String(flow.lost)]
      cells.forEach((cell, c) => text(this.body.children[n].children[c], cell))
      this.body.children[n].classList.toggle("lost", flow.lost > 0)
    })
  }
}
