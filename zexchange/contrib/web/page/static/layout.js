// Where the nodes of the map stand. Pure: nodes, flows and a width in, places out.
//
// Nodes that send stand to the left of those that listen to them. Where most of them do both, or it
// would take too many columns, they stand on an oval.

const COLUMNS_MOST = 6
const GAP = 18
const MARGIN = 10
const PORT = 16
const LANE = 14
const LANES_MOST = 60

export function layout(nodes, flows, width) {
  const linked = new Set(flows.flatMap(({ from, to }) => [from, to]))
  const ids = nodes.map(({ id }) => id)
  const busy = ids.filter((id) => linked.has(id))
  const quiet = ids.filter((id) => !linked.has(id))
  const columns = mutual(flows) ? null : inColumns(busy, flows)
  const high = busy.length > 24 ? 30 : 46
  const found = columns && columns.length <= COLUMNS_MOST
    ? placeColumns(columns, flows, width, high) : placeOval(busy, width, high)
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
  return columns
}

// The places of nodes and of the flows between them. A flow that passes a column has a lane in it,
// so that it does not run under a node.
function placeColumns(columns, flows, width, high) {
  const number = columns.length
  const wide = Math.max(84, Math.min(180, width / (number * 1.9)))
  const needed = Math.max(width, number * wide + (number - 1) * 40 + 2 * MARGIN)
  const step = number > 1 ? (needed - 2 * MARGIN - wide) / (number - 1) : 0
  const column = new Map(columns.flatMap((ids, c) => ids.map((id) => [id, c])))
  const forward = flows.filter(({ from, to }) => column.get(to) > column.get(from))
  const slots = columns.map((ids) => ids.map((id) => ({ id, high: tallness(id, forward, high) })))
  const links = [] // of slots in columns that are next to each other
  const routes = new Map()
  const slot = new Map(slots.flat().map((one) => [one.id, one]))
  for (const { from, to } of forward) {
    const route = [slot.get(from)]
    for (let c = column.get(from) + 1; c < column.get(to) && flows.length <= LANES_MOST; c += 1) {
      const lane = { high: LANE }
      slots[c].push(lane)
      route.push(lane)
    }
    route.push(slot.get(to))
    route.slice(1).forEach((next, n) => links.push([route[n], next]))
    routes.set(from + to, route)
  }
  order(slots, links)
  const tall = (group) => group.reduce((sum, one) => sum + one.high + GAP, GAP)
  const height = Math.max(200, ...slots.map(tall)) + 2 * MARGIN
  slots.forEach((group, c) => {
    const gap = (height - 2 * MARGIN - tall(group)) / (group.length + 1) + GAP
    let y = MARGIN
    for (const one of group) {
      one.x = number > 1 ? MARGIN + wide / 2 + c * step : needed / 2
      one.y = y + gap + one.high / 2
      y += gap + one.high
    }
  })
  const at = new Map(slots.flat().filter(({ id }) => id).map((one) => [one.id, one]))
  return { at, wide, high, width: needed, height, oval: false, routes, ports: ports(routes), gap: step - wide }
}

// Nodes with many flows are taller, so that each flow has its own place.
function tallness(id, flows, high) {
  const into = flows.filter(({ to }) => to === id).length
  const out = flows.filter(({ from }) => from === id).length
  return Math.max(high, Math.min(8, Math.max(into, out)) * PORT + 10)
}

// Each slot at the height of those that it is linked with, so that few flows cross.
function order(slots, links) {
  const place = new Map()
  const number = (group) => group.forEach((one, n) => place.set(one, (n + 0.5) / group.length))
  slots.forEach(number)
  for (const side of [0, 1, 0]) {
    for (const group of side ? [...slots].reverse() : slots) {
      const means = new Map(group.map((one) => {
        const near = links.filter((link) => link[1 - side] === one).map((link) => place.get(link[side]))
        return [one, near.length ? near.reduce((a, b) => a + b, 0) / near.length : place.get(one)]
      }))
      group.sort((one, other) => means.get(one) - means.get(other))
      number(group)
    }
  }
}

// Where each flow leaves its sender and reaches its listener: by the height of where it goes.
function ports(routes) {
  const found = new Map([...routes.keys()].map((key) => [key, [0, 0]]))
  for (const side of [0, 1]) {
    const groups = new Map()
    for (const [key, route] of routes) {
      const end = side ? route.at(-1) : route[0]
      const next = side ? route.at(-2) : route[1]
      if (!groups.has(end)) groups.set(end, [])
      groups.get(end).push([next.y, key])
    }
    for (const [end, group] of groups) {
      const apart = Math.min(PORT, (end.high - 10) / group.length)
      group.sort(([one], [other]) => one - other)
        .forEach(([, key], n) => { found.get(key)[side] = end.y + (n - (group.length - 1) / 2) * apart })
    }
  }
  return found
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
    at.set(id, { high, x: width / 2 + (n < half ? -out : out), y: MARGIN + y * (height - 2 * MARGIN) })
  })
  return { at, wide, high, width, height: ids.length ? height : 0, oval: true, routes: new Map(), gap: width / 3 }
}

function below(found, quiet, width) {
  if (!quiet.length) return { ...found, quietAt: null }
  const step = found.wide + GAP
  const across = Math.max(1, Math.floor((found.width - 2 * MARGIN + GAP) / step))
  const top = found.height + 34
  quiet.forEach((id, n) => found.at.set(id, {
    high: found.high,
    x: MARGIN + found.wide / 2 + (n % across) * step,
    y: top + found.high / 2 + Math.floor(n / across) * (found.high + GAP),
  }))
  const rows = Math.ceil(quiet.length / across)
  return { ...found, quietAt: found.height + 20, height: top + rows * (found.high + GAP) + MARGIN }
}

// The line of a flow, and the place of its label.
export function line(plan, from, to) {
  const { at, wide, oval, width, height, routes } = plan
  const round = (...numbers) => numbers.map((n) => n.toFixed(1)).join(" ")
  const route = routes.get(from + to)
  if (route) {
    const [first, last] = plan.ports.get(from + to)
    let [x, y] = [route[0].x + wide / 2, first]
    let d = `M${round(x, y)}`
    route.slice(1).forEach((slot, n) => {
      const end = n === route.length - 2
      const [x2, y2] = [slot.x - wide / 2 - (end ? 7 : 0), end ? last : slot.y]
      const bend = (x2 - x) / 2
      d += ` C${round(x + bend, y)} ${round(x2 - bend, y2)} ${round(x2, y2)}`
      ;[x, y] = [slot.x + wide / 2, y2]
      if (!end) d += ` L${round(x, y)}`
    })
    return { d, x: route.at(-1).x - wide / 2 - 14, y: last - 4, anchor: "end" }
  }
  const [a, b] = [at.get(from), at.get(to)]
  // Past the middle, a little aside: what flows back is another line.
  const [mx, my] = [(a.x + b.x) / 2, (a.y + b.y) / 2]
  const long = Math.hypot(b.x - a.x, b.y - a.y) || 1
  const aside = oval ? 16 : 46
  const pull = oval ? 0.25 : 0
  const cx = mx + (width / 2 - mx) * pull - ((b.y - a.y) / long) * aside
  const cy = my + (height / 2 - my) * pull + ((b.x - a.x) / long) * aside
  const [start, end] = [border(a, cx, cy, wide, 0), border(b, cx, cy, wide, 7)]
  return {
    d: `M${round(...start)} Q${round(cx, cy)} ${round(...end)}`,
    anchor: "middle", x: (start[0] + end[0] + 2 * cx) / 4, y: (start[1] + end[1] + 2 * cy) / 4,
  }
}

function border({ x, y, high }, cx, cy, wide, off) {
  const [dx, dy] = [cx - x, cy - y]
  const scale = Math.min((wide / 2 + off) / (Math.abs(dx) || 1e-6), (high / 2 + off) / (Math.abs(dy) || 1e-6), 1)
  return [x + dx * scale, y + dy * scale]
}
