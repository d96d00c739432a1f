// The doctor's verdict: the likeliest cause, findings, and what they rest on.

import { el } from "./dom.js"

export class Doctor {
  constructor(ask) {
    this.say = ask
    this.again = el("button", { type: "button", onclick: () => this.ask() }, "Look again")
    this.result = el("div", { "aria-live": "polite" })
    this.root = el("section", { class: "view", "aria-labelledby": "title" },
      el("div", { class: "title" }, el("h2", { id: "title" }, "Doctor"), this.again),
      this.result)
  }

  ask() {
    this.again.disabled = true
    if (!this.result.children.length) {
      this.result.append(el("p", { class: "muted" }, "Looking at all nodes: some seconds …"))
    }
    this.say({ view: "doctor" })
  }

  told({ doctor: told }) {
    if (!told) return
    this.again.disabled = false
    if (told.fault) return this.result.replaceChildren(el("p", { class: "verdict bad" }, told.fault))
    const findings = told.findings.map(([kind, said]) =>
      el("li", { class: kind === "wrong" ? "wrong" : "note" },
        el("strong", {}, kind === "wrong" ? "Wrong" : "Note"), " ", said))
    const facts = told.facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])
    this.result.replaceChildren(...[
      el("p", { class: `verdict ${told.healthy ? "good" : "bad"}` },
        el("span", { class: "mark", "aria-hidden": "true" }, told.healthy ? "✓" : "!"),
        el("span", {}, told.conclusion)),
      findings.length ? el("ul", { class: "findings" }, findings) : null,
      ...told.tables.map(table),
      el("div", { class: "card" }, el("h3", {}, "Seen from here"), el("dl", {}, facts)),
      el("p", { class: "muted" }, "Of one exchange ",
        el("code", {}, "zexchange doctor EXCHANGE"), " says more."),
    ].filter(Boolean))
  }
}

function table([head, ...rows]) {
  const cell = (value) =>
    el("td", { class: `left ${{ yes: "yes", no: "no" }[value] ?? ""}` }, value)
  return el("div", { class: "card scroll", tabindex: 0, role: "region", "aria-label": head[0].toLowerCase() },
    el("table", {},
      el("thead", {}, el("tr", {}, head.map((title) =>
        el("th", { scope: "col", class: "left" }, title[0] + title.slice(1).toLowerCase())))),
      el("tbody", {}, rows.map(([first, ...rest]) =>
        el("tr", {}, el("th", { scope: "row", class: "left" }, first), rest.map(cell))))))
}
