// Elements of the page. All text from elsewhere becomes text nodes, and never markup.

const SVG = "http://www.w3.org/2000/svg"

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value)
    else node.setAttribute(name, value === true ? "" : value)
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined))
  return node
}

export const el = (tag, attributes, ...children) =>
  fill(document.createElement(tag), attributes, children)

export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children)

// Sets text only where it has changed, so that what a reader has selected stays selected.
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value
}

export const count = (number, one, many) =>
  `${number.toLocaleString("en")} ${number === 1 ? one : many}`

export function short(label, most) {
  const letters = [...label]
  return letters.length <= most ? label : letters.slice(0, most - 1).join("") + "…"
}

export const to = (name) => `#/exchange/${encodeURIComponent(name)}`
