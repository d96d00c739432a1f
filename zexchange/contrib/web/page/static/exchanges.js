// The table of exchanges: sorted and filtered by the server, a hundred rows at a time.

import { count, el, text, to } from "./dom.js"

const ROWS = 100

export class Exchanges {
  static asked = { sort: 1, turned: false, filter: "", first: 0 } // as it was left

  constructor(ask) {
    this.say = ask
    this.rows = new Map()
    this.filter = el("input", {
      id: "filter", type: "search", autocomplete: "off", spellcheck: "false",
      placeholder: "prices.** or part of a name", maxlength: 255,
      value: Exchanges.asked.filter,
      oninput: () => {
        clearTimeout(this.timer)
        this.timer = setTimeout(() => this.change({ filter: this.filter.value.trim(), first: 0 }), 200)
      },
    })
    this.found = el("p", { class: "muted", role: "status" }, "Looking …")
    this.head = el("tr", {})
    this.body = el("tbody", {})
    this.before = el("button", { type: "button", onclick: () => this.turn(-ROWS) }, "Previous")
    this.after = el("button", { type: "button", onclick: () => this.turn(ROWS) }, "Next")
    this.pages = el("div", { class: "pages", hidden: true }, this.before, this.after)
    this.root = el("section", { class: "view", "aria-labelledby": "title" },
      el("div", { class: "title" },
        el("h2", { id: "title" }, "Exchanges"),
        el("div", { class: "filter" }, el("label", { for: "filter" }, "Filter"), this.filter)),
      this.found,
      el("div", { class: "card scroll", tabindex: 0, role: "region", "aria-label": "Table of exchanges" },
        el("table", {}, el("thead", {}, this.head), this.body)),
      this.pages)
  }

  ask() {
    this.say({ view: "exchanges", ...Exchanges.asked })
  }

  change(what) {
    Object.assign(Exchanges.asked, what)
    this.ask()
  }

  turn(step) {
    this.change({ first: Math.max(0, this.first + step) })
  }

  leave() {
    clearTimeout(this.timer)
  }

  told({ exchanges: told }) {
    if (!told) return
    this.first = told.first
    this.columns(told)
    const rows = told.rows.map((row) => this.row(row, told.columns))
    const before = [...this.body.children]
    if (rows.length !== before.length || rows.some((row, n) => row !== before[n])) {
      const focused = document.activeElement
      this.body.replaceChildren(...rows)
      if (this.body.contains(focused)) focused.focus({ preventScroll: true })
    }
    const here = new Set(told.rows.map((row) => row.name))
    for (const name of this.rows.keys()) if (!here.has(name)) this.rows.delete(name)
    const shown = told.found > ROWS
      ? `${told.first + 1} to ${told.first + rows.length} of ${count(told.found, "exchange", "exchanges")}`
      : told.found ? count(told.found, "exchange", "exchanges")
        : Exchanges.asked.filter ? "No exchange has such a name." : "Nothing has flowed yet."
    text(this.found, told.fault || shown)
    this.found.classList.toggle("bad", Boolean(told.fault))
    this.pages.hidden = told.found <= ROWS
    this.before.disabled = told.first === 0
    this.after.disabled = told.first + ROWS >= told.found
  }

  columns({ columns, sort, turned }) {
    if (!this.head.children.length) {
      this.head.append(...columns.map((column, n) =>
        el("th", { scope: "col", class: column.left ? "left" : "", title: column.meaning || null },
          el("button", { type: "button", onclick: () => this.sort(n) }, column.title))))
    }
    this.shown = { sort, turned }
    columns.forEach((column, n) => {
      const words = n === 0 || column.title === "Slowest"
      const order = words !== turned ? "ascending" : "descending"
      const cell = this.head.children[n]
      if (n === sort) cell.setAttribute("aria-sort", order)
      else cell.removeAttribute("aria-sort")
    })
  }

  sort(n) {
    const { sort, turned } = this.shown
    this.change({ sort: n, turned: n === sort ? !turned : false, first: 0 })
  }

  row(told, columns) {
    let row = this.rows.get(told.name)
    if (!row) {
      row = el("tr", {}, columns.map((column, n) => n
        ? el("td", { class: column.left ? "left" : "", "data-title": column.title })
        : el("th", { scope: "row", class: "left" }, el("a", { href: to(told.name) }))))
      this.rows.set(told.name, row)
    }
    told.cells.forEach((cell, n) => text(n ? row.children[n] : row.children[0].firstChild, cell))
    row.classList.toggle("lost", told.lost)
    return row
  }
}
