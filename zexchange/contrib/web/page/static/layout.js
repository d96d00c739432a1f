// Where the nodes of the map stand. Pure: nodes, flows and a width in, places out.
//
// Nodes that send stand to the left of those that listen to them. Where most of them do both, or it
// would take too many columns, they stand on an oval.

const COLUMNS_MOST = 6
const GAP = 18
const MARGIN = 10

export function layout(nodes, flows, width) {
  const linked = new Set(flows.flatMap(({ from, to }) => [from, to]))
  const ids = nodes.map(({ id }) => id)
  const busy = ids.filter((id) => linked.has(id))
  const quiet = ids.filter((id) => !linked.has(id))
  const columns = mutual(flows) ? null : inColumns(busy, flows)
  const high = busy.length > 24 ? 30 : 46
  const found = columns && columns.length <= COLUMNS_MOST
    ? placeColumns(columns, width, high) : placeOval(busy, width, high)
  return below(found, quiet, width)
}

function mutual(flows) {
  const pairs = new Set(flows.map(({ from, to }) => `${from} ${to}`))
  const both = flows.filter(({ from, to }) => pairs.has(`${to} ${from}`)).length
  return flows.length > 2 && both > flows.length / 2
}

function inColumns(ids, flows) {
  const into = new Map(ids.map((id) => [id, new Set()]))
  const surplus = new Map(ids.map((id) => [id, 0]))
  for (const { from, to } of flows) {
    into.get(to).add(from)
    surplus.set(from, surplus.get(from) + 1)
    surplus.set(to, surplus.get(to) - 1)
  }
  // Senders first; where there is a circle, it is cut before the node that sends most.
  const left = new Set(ids)
  const depth = new Map()
  while (left.size) {
    const free = [...left].filter((id) => [...into.get(id)].every((other) => !left.has(other)))
    const next = free.length ? free
      : [[...left].reduce((best, id) => (surplus.get(id) > surplus.get(best) ? id : best))]
    for (const id of next) {
      const before = [...into.get(id)].filter((other) => depth.has(other)).map((other) => depth.get(other))
      depth.set(id, Math.max(-1, ...before) + 1)
    }
    for (const id of next) left.delete(id)
  }
  const columns = []
  for (const id of ids) (columns[depth.get(id)] ??= []).push(id)
  const place = new Map()
  for (const column of columns) {
    // Each node at the height of those that send to it, so that few flows cross.
    const mean = (id) => {
      const rows = [...into.get(id)].map((other) => place.get(other)).filter((row) => row !== undefined)
      return rows.length ? rows.reduce((a, b) => a + b, 0) / rows.length : 0.5
    }
    const means = new Map(column.map((id) => [id, mean(id)]))
    column.sort((one, other) => means.get(one) - means.get(other))
    column.forEach((id, n) => place.set(id, (n + 0.5) / column.length))
  }
  return columns
}

function placeColumns(columns, width, high) {
  const number = columns.length
  const wide = Math.max(84, Math.min(190, width / (number * 1.8)))
  const needed = Math.max(width, number * wide + (number - 1) * 40 + 2 * MARGIN)
  const step = number > 1 ? (needed - 2 * MARGIN - wide) / (number - 1) : 0
  const tall = Math.max(...columns.map((column) => column.length), 1) * (high + GAP) + 2 * MARGIN
  const height = Math.max(tall, 200)
  const at = new Map()
  columns.forEach((column, c) => column.forEach((id, n) => at.set(id, {
    x: number > 1 ? MARGIN + wide / 2 + c * step : needed / 2,
    y: MARGIN + ((height - 2 * MARGIN) * (n + 0.5)) / column.length,
    column: c,
  })))
  return { at, wide, high, width: needed, height, oval: false }
}

function placeOval(ids, width, high) {
  const half = Math.ceil(ids.length / 2)
  const wide = Math.max(84, Math.min(160, width / 4.2))
  const height = Math.max(300, half * (high + 2.4 * GAP) + 2 * MARGIN)
  const at = new Map()
  ids.forEach((id, n) => {
    const row = n < half ? n : ids.length - 1 - n
    const rows = n < half ? half : ids.length - half
    const y = (row + 0.5) / rows
    const out = Math.sqrt(1 - (2 * y - 1) ** 2) * (width / 2 - wide / 2 - MARGIN)
    at.set(id, { x: width / 2 + (n < half ? -out : out), y: MARGIN + y * (height - 2 * MARGIN) })
  })
  return { at, wide, high, width, height: ids.length ? height : 0, oval: true }
}

function below(found, quiet, width) {
  if (!quiet.length) return { ...found, quietAt: null }
  const step = found.wide + GAP
  const across = Math.max(1, Math.floor((found.width - 2 * MARGIN + GAP) / step))
  const top = found.height + 34
  quiet.forEach((id, n) => found.at.set(id, {
    x: MARGIN + found.wide / 2 + (n % across) * step,
    y: top + found.high / 2 + Math.floor(n / across) * (found.high + GAP),
  }))
  const rows = Math.ceil(quiet.length / across)
  return { ...found, quietAt: found.height + 20, height: top + rows * (found.high + GAP) + MARGIN }
}

// The line of a flow, and the place of its label.
export function line({ at, wide, high, oval, width, height }, from, to) {
  const a = at.get(from)
  const b = at.get(to)
  const round = (...numbers) => numbers.map((n) => n.toFixed(1)).join(" ")
  if (!oval && b.column > a.column) {
    const [x1, x2] = [a.x + wide / 2, b.x - wide / 2 - 7]
    const bend = (x2 - x1) / 2
    return {
      d: `M${round(x1, a.y)} C${round(x1 + bend, a.y)} ${round(x2 - bend, b.y)} ${round(x2, b.y)}`,
      x: x1 + 0.62 * (x2 - x1), y: a.y + 0.68 * (b.y - a.y) - 6,
    }
  }
  // Past the middle, a little aside: what flows back is another line.
  const [mx, my] = [(a.x + b.x) / 2, (a.y + b.y) / 2]
  const long = Math.hypot(b.x - a.x, b.y - a.y) || 1
  const aside = oval ? 16 : 46
  const pull = oval ? 0.25 : 0
  const cx = mx + (width / 2 - mx) * pull - ((b.y - a.y) / long) * aside
  const cy = my + (height / 2 - my) * pull + ((b.x - a.x) / long) * aside
  const [start, end] = [border(a, cx, cy, wide, high, 0), border(b, cx, cy, wide, high, 7)]
  return {
    d: `M${round(...start)} Q${round(cx, cy)} ${round(...end)}`,
    x: (start[0] + end[0] + 2 * cx) / 4, y: (start[1] + end[1] + 2 * cy) / 4,
  }
}

function border({ x, y }, cx, cy, wide, high, off) {
  const [dx, dy] = [cx - x, cy - y]
  const scale = Math.min((wide / 2 + off) / (Math.abs(dx) || 1e-6), (high / 2 + off) / (Math.abs(dy) || 1e-6), 1)
  return [x + dx * scale, y + dy * scale]
}
