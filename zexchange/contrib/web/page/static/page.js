// The page: its address, its token, its colours, and which of its views is shown.

import { Connection } from "./connection.js"
import { Doctor } from "./doctor.js"
import { count, el, text } from "./dom.js"
import { Exchange } from "./exchange.js"
import { Exchanges } from "./exchanges.js"
import { FlowMap } from "./map.js"

const main = document.getElementById("main")
const status = document.getElementById("connection")
const TOKEN = "zexchange token"
const THEME = "zexchange theme"
const THEMES = ["system", "light", "dark"]
let view = null
let connected = false

// ---------------------------------------------------------------------------------- colours

function stored(storage, key, value) {
  try {
    if (value === undefined) return storage.getItem(key)
    if (value === "") storage.removeItem(key)
    else storage.setItem(key, value)
  } catch { /* a browser that keeps nothing */ }
  return value ?? null
}

const button = document.getElementById("theme")
let theme = THEMES.includes(stored(localStorage, THEME)) ? stored(localStorage, THEME) : "system"

function paint() {
  document.documentElement.dataset.theme = theme
  text(button, { system: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[theme])
  button.setAttribute("aria-label", `Colours: ${theme}. Change`)
}

button.addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]
  stored(localStorage, THEME, theme)
  paint()
})
paint()

// ------------------------------------------------------------------------------------ token

// It comes in the fragment, which no browser sends to a server, and is taken out of the address.
function tokenOfAddress() {
  const found = /^#token=(.*)$/.exec(location.hash)
  if (!found) return
  let token = found[1]
  try {
    token = decodeURIComponent(token)
  } catch { /* as it is */ }
  stored(sessionStorage, TOKEN, token)
  history.replaceState(null, "", location.pathname + location.search + "#/map")
}

function askForToken(reason) {
  view?.leave?.()
  view = null
  const tried = stored(sessionStorage, TOKEN)
  stored(sessionStorage, TOKEN, "")
  const field = el("input", {
    id: "token", type: "password", autocomplete: "off", required: true,
    "aria-describedby": "token-help",
  })
  const form = el("form", { class: "card token" },
    el("h2", {}, "This page needs a token"),
    el("p", { id: "token-help" },
      "It is in the address that ", el("code", {}, "zexchange web"), " has printed, after ",
      el("code", {}, "#token="), ", or in its option ", el("code", {}, "--token"), "."),
    el("label", { for: "token" }, "Token"), field,
    el("button", { type: "submit", class: "primary" }, "Connect"),
    tried ? el("p", { class: "bad", role: "alert" }, `Refused: ${reason}.`) : null)
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    stored(sessionStorage, TOKEN, field.value)
    connection.open(field.value)
  })
  main.replaceChildren(form)
  field.focus()
}

// ------------------------------------------------------------------------------------ views

function show() {
  if (location.hash === "#main") return
  if (/^#token=/.test(location.hash)) {
    tokenOfAddress()
    connection.open(stored(sessionStorage, TOKEN) ?? "")
  }
  const [, wanted, ...rest] = location.hash.split("/")
  let name = rest.join("/")
  try {
    name = decodeURIComponent(name)
  } catch { /* as it is */ }
  const ask = (asked) => connection.ask(asked)
  view?.leave?.()
  if (wanted === "exchanges") view = new Exchanges(ask)
  else if (wanted === "exchange" && name) view = new Exchange(ask, name)
  else if (wanted === "doctor") view = new Doctor(ask)
  else view = new FlowMap(ask)
  const current = view instanceof Exchange ? "exchanges" : wanted || "map"
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === current) link.setAttribute("aria-current", "page")
    else link.removeAttribute("aria-current")
  }
  if (status.dataset.state !== "token") main.replaceChildren(view.root)
  window.scrollTo(0, 0)
  view.ask()
}

function told(picture) {
  const { summary } = picture
  if (summary) {
    const silent = summary.silent ? `, ${summary.silent} without an answer` : ""
    const lost = summary.lost ? ` · ${summary.lost.toLocaleString("en")} lost` : ""
    text(document.getElementById("summary"),
      `${count(summary.nodes, "node", "nodes")}${silent} · ` +
      `${count(summary.exchanges, "exchange", "exchanges")} · ${summary.rate} msg/s${lost}`)
  }
  view?.told(picture)
}

function state(name, said, welcome) {
  status.dataset.state = name
  text(status, said)
  document.body.classList.toggle("stale", name !== "connected")
  if (name === "token") askForToken(said)
  if (name !== "connected") return
  text(document.getElementById("federation"), welcome.welcome)
  document.title = `${welcome.welcome} · zexchange`
  if (!connected || !view) show()
  connected = true
}

const connection = new Connection(told, state)
tokenOfAddress()
addEventListener("hashchange", show)
connection.open(stored(sessionStorage, TOKEN) ?? "")
