// Exchanges for browsers: a client of the gateway of zexchange, and the values of its wire.
//
//   import { connect } from "/zexchange.js"
//   const client = connect("/ws", { token })
//   client.exchange("prices.*").attach((price, { exchange }) => show(exchange, price))
//   client.exchange("orders").send({ sym: "AAPL", count: 2 })
//   const answer = await client.exchange("sum").request([1, 2])
//
// A function that returns a promise is waited for before it gets the next message: so a slow page
// is sent no more than it can take. The frames are described in docs/internals/browsers.md, the
// values in docs/PROTOCOL.md.

// ------------------------------------------------------------------ values that JavaScript lacks

/** A tuple: an array of its own kind. */
export class Tuple extends Array {}

/** A set that does not change. */
export class FrozenSet extends Set {}

/** A number that is sent as a float, though it is whole. One that is received is a plain number. */
export class Float {
  constructor(value) { this.value = value }
  valueOf() { return this.value }
}

/** A value of a type that is registered under a name; `value` is what its encoder made of it. */
export class Registered {
  constructor(name, data) { this.name = name; this.data = data }
  static of(name, value) { return new Registered(name, encode(value)) }
  get value() { return decode(this.data) }
}

/** A value of a MessagePack extension that is not known here; it can be sent on. */
export class Extension {
  constructor(code, data) { this.code = code; this.data = data }
}

export class Complex {
  constructor(re, im) { this.re = re; this.im = im }
}

/** A decimal number as text, such as "-12.50". */
export class Decimal {
  constructor(text) { this.text = String(text) }
  toString() { return this.text }
  toJSON() { return this.text }
}

export class UUID {
  constructor(text) {
    if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) throw new TypeError(`no UUID: ${text}`)
    this.text = text.toLowerCase()
  }
  toString() { return this.text }
  toJSON() { return this.text }
}

/** A date without a time. */
export class PlainDate {
  constructor(year, month, day) { Object.assign(this, { year, month, day }) }
  toString() { return `${pad(this.year, 4)}-${pad(this.month)}-${pad(this.day)}` }
  toJSON() { return this.toString() }
}

/** A time of day; `zone` is as in docs/PROTOCOL.md. */
export class PlainTime {
  constructor(hour, minute, second, microsecond = 0, fold = 0, zone = []) {
    Object.assign(this, { hour, minute, second, microsecond, fold, zone })
  }
  toString() {
    return `${pad(this.hour)}:${pad(this.minute)}:${pad(this.second)}.${pad(this.microsecond, 6)}`
  }
  toJSON() { return this.toString() }
}

/** A moment with what a Date has no room for: microseconds and a zone. One without a zone is taken
 * for local time. As long as it is not changed, it is sent on exactly as it came. */
export class DateTime extends Date {
  constructor(fields) {
    super(moment(fields))
    this.fields = fields
    this.made = this.getTime()
  }
  get microsecond() { return this.fields[6] }
  get zone() { return this.fields.slice(8) }
}

function moment([year, month, day, hour, minute, second, microsecond, , offset]) {
  const date = new Date(0), milliseconds = Math.floor(microsecond / 1000)
  if (offset == null) {
    date.setFullYear(year, month - 1, day)
    return date.setHours(hour, minute, second, milliseconds)
  }
  date.setUTCFullYear(year, month - 1, day)
  return date.setUTCHours(hour, minute, second, milliseconds) - Math.round(Number(offset) / 1000)
}

/** A span of time, as Python has it: seconds and microseconds are never negative. */
export class Duration {
  constructor(days, seconds, microseconds) { Object.assign(this, { days, seconds, microseconds }) }
  get milliseconds() { return (this.days * 86400 + this.seconds) * 1000 + this.microseconds / 1000 }
}

const NATIVE = {
  "|i1": Int8Array, "|u1": Uint8Array, "|b1": Uint8Array, "<i2": Int16Array, "<u2": Uint16Array,
  "<i4": Int32Array, "<u4": Uint32Array, "<i8": BigInt64Array, "<u8": BigUint64Array,
  "<f4": Float32Array, "<f8": Float64Array, "<c8": Float32Array, "<c16": Float64Array,
}
if (globalThis.Float16Array) NATIVE["<f2"] = Float16Array

/** An array of NumPy. `data` is a typed array of its items where JavaScript has one (complex items
 * are pairs; of big-endian ones it is a copy), else their bytes. */
export class NDArray {
  constructor(dtype, shape, bytes, flags = 0) { Object.assign(this, { dtype, shape, bytes, flags }) }
  get fortran() { return (this.flags & 1) !== 0 }
  get data() { return view(this.dtype, this.bytes) }
}

/** A single value of a type of NumPy. */
export class NumPyScalar {
  constructor(dtype, raw) { this.dtype = dtype; this.raw = raw }
  get value() {
    if (typeof this.raw === "string" || /^\|?S/.test(this.dtype)) return this.raw
    const items = view(this.dtype, this.raw)
    if (this.dtype === "|b1") return items[0] !== 0
    return items.length === 1 ? items[0] : items
  }
}

function view(dtype, bytes) {
  const swapped = typeof dtype === "string" && dtype[0] === ">"
  const kind = NATIVE[swapped ? "<" + dtype.slice(1) : dtype]
  if (!kind || bytes.length % kind.BYTES_PER_ELEMENT) return bytes
  let all = bytes
  if (swapped) {
    const size = kind.BYTES_PER_ELEMENT
    all = new Uint8Array(bytes.length)
    for (let at = 0; at < all.length; at += size) {
      for (let i = 0; i < size; i++) all[at + i] = bytes[at + size - 1 - i]
    }
  }
  return new kind(all.buffer, all.byteOffset, all.length / kind.BYTES_PER_ELEMENT)
}

const pad = (number, digits = 2) => String(number).padStart(digits, "0")

// ------------------------------------------------------------------------------- their encoding

const [REGISTERED, TUPLE, SET, FROZENSET, INTEGER, COMPLEX, DECIMAL, UUID_, DATE, TIME, DATETIME,
  TIMEDELTA, ARRAY, SCALAR] = Array.from({ length: 14 }, (_, i) => i + 1)
const NESTED_MOST = 32
const DEEP_MOST = 500
const toUTF8 = new TextEncoder(), fromUTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

class Writer {
  constructor(nested = 0) {
    if (nested > NESTED_MOST) throw new RangeError(`more than ${NESTED_MOST} extension values nested`)
    this.nested = nested
    this.depth = 0
    this.at = 0
    this.bytes = new Uint8Array(256)
    this.view = new DataView(this.bytes.buffer)
  }

  room(size) {
    if (this.at + size > this.bytes.length) {
      const larger = new Uint8Array(Math.max(2 * this.bytes.length, this.at + size))
      larger.set(this.bytes)
      this.bytes = larger
      this.view = new DataView(larger.buffer)
    }
    this.at += size
    return this.at - size
  }

  // First the room: it may replace `bytes` and `view`.
  byte(value) {
    const at = this.room(1)
    this.view.setUint8(at, value)
  }

  all(bytes) {
    const at = this.room(bytes.length)
    this.bytes.set(bytes, at)
  }

  head(code, size, value, wide) { // a code, and a number of so many bytes
    this.byte(code)
    const at = this.room(size)
    if (wide) this.view.setBigUint64(at, BigInt.asUintN(64, value))
    else if (size === 1) this.view.setUint8(at, value)
    else if (size === 2) this.view.setUint16(at, value)
    else this.view.setUint32(at, value)
  }

  length(count, few, most, ...codes) { // of a text, bytes, an array or a map
    if (count <= most) this.byte(few | count)
    else if (count <= 0xff && codes.length === 3) this.head(codes[0], 1, count)
    else if (count <= 0xffff) this.head(codes.at(-2), 2, count)
    else this.head(codes.at(-1), 4, count)
  }

  value(value) {
    if (value === null || value === undefined) return this.byte(0xc0)
    switch (typeof value) {
      case "boolean": return this.byte(value ? 0xc3 : 0xc2)
      case "number": return this.number(value)
      case "bigint": return this.integer(value)
      case "string": return this.text(value)
      case "object": return this.object(value)
    }
    throw new TypeError(`a ${typeof value} cannot be sent`)
  }

  number(value) {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) return this.float(value)
    if (value >= 0 ? value < 0x80 : value >= -0x20) return this.byte(value & 0xff)
    if (value > 0) {
      if (value <= 0xff) return this.head(0xcc, 1, value)
      if (value <= 0xffff) return this.head(0xcd, 2, value)
      if (value <= 0xffffffff) return this.head(0xce, 4, value)
      return this.head(0xcf, 8, BigInt(value), true)
    }
    if (value >= -0x80) return this.head(0xd0, 1, value)
    if (value >= -0x8000) return this.head(0xd1, 2, value)
    if (value >= -0x80000000) return this.head(0xd2, 4, value)
    return this.head(0xd3, 8, BigInt(value), true)
  }

  float(value) {
    this.byte(0xcb)
    const at = this.room(8)
    this.view.setFloat64(at, value)
  }

  integer(value) {
    if (BigInt.asIntN(54, value) === value) return this.number(Number(value))
    if (value >= 0n ? value < 1n << 64n : value >= -(1n << 63n)) {
      return this.head(value < 0n ? 0xd3 : 0xcf, 8, value, true)
    }
    const bits = (value < 0n ? -value : value).toString(2).length // as Python's bit_length
    const size = Math.floor(bits / 8) + 1, bytes = new Uint8Array(size)
    const digits = BigInt.asUintN(8 * size, value).toString(16).padStart(2 * size, "0")
    for (let i = 0; i < size; i++) bytes[i] = parseInt(digits.slice(2 * i, 2 * i + 2), 16)
    this.ext(INTEGER, bytes)
  }

  text(value) {
    if (value.isWellFormed && !value.isWellFormed()) throw new TypeError("a text is no valid Unicode")
    const bytes = toUTF8.encode(value)
    this.length(bytes.length, 0xa0, 31, 0xd9, 0xda, 0xdb)
    this.all(bytes)
  }

  binary(bytes) {
    this.length(bytes.length, 0, -1, 0xc4, 0xc5, 0xc6)
    this.all(bytes)
  }

  array(items) {
    this.length(items.length, 0x90, 15, 0xdc, 0xdd)
    for (const item of items) this.value(item)
  }

  map(entries) {
    this.length(entries.length, 0x80, 15, 0xde, 0xdf)
    for (const [key, value] of entries) { this.value(key); this.value(value) }
  }

  ext(code, data) {
    const size = data.length
    if ([1, 2, 4, 8, 16].includes(size)) this.byte(0xd4 + Math.log2(size))
    else if (size <= 0xff) this.head(0xc7, 1, size)
    else if (size <= 0xffff) this.head(0xc8, 2, size)
    else this.head(0xc9, 4, size)
    this.byte(code & 0xff)
    this.all(data)
  }

  nest(code, items) {
    const inner = new Writer(this.nested + 1)
    inner.array(items)
    this.ext(code, inner.bytes.subarray(0, inner.at))
  }

  object(value) {
    if (++this.depth > DEEP_MOST) throw new RangeError("nested too deeply, or in a circle")
    if (value instanceof Tuple) this.nest(TUPLE, value)
    else if (Array.isArray(value)) this.array(value)
    else if (value instanceof Uint8Array) this.binary(value)
    else if (value instanceof ArrayBuffer) this.binary(new Uint8Array(value))
    else if (value instanceof Map) this.map([...value])
    else if (value instanceof FrozenSet) this.nest(FROZENSET, [...value])
    else if (value instanceof Set) this.nest(SET, [...value])
    else if (value instanceof Date) this.nest(DATETIME, dateFields(value))
    else if (ArrayBuffer.isView(value)) this.nest(ARRAY, arrayFields(value))
    else this.other(value)
    this.depth--
  }

  other(value) {
    if (value instanceof Float) return this.float(value.value)
    if (value instanceof Complex) {
      const data = new DataView(new ArrayBuffer(16))
      data.setFloat64(0, value.re)
      data.setFloat64(8, value.im)
      return this.ext(COMPLEX, new Uint8Array(data.buffer))
    }
    if (value instanceof Decimal) return this.ext(DECIMAL, toUTF8.encode(value.text))
    if (value instanceof UUID) return this.ext(UUID_, fromHex(value.text.replaceAll("-", "")))
    if (value instanceof PlainDate) return this.nest(DATE, [value.year, value.month, value.day])
    if (value instanceof PlainTime) {
      const { hour, minute, second, microsecond, fold, zone } = value
      return this.nest(TIME, [hour, minute, second, microsecond, fold, ...zone])
    }
    if (value instanceof Duration) {
      return this.nest(TIMEDELTA, [value.days, value.seconds, value.microseconds])
    }
    if (value instanceof NDArray) {
      return this.nest(ARRAY, [value.dtype, value.shape, value.flags, value.bytes])
    }
    if (value instanceof NumPyScalar) return this.nest(SCALAR, [value.dtype, value.raw])
    if (value instanceof Registered) {
      const name = toUTF8.encode(value.name)
      if (!name.length || name.length > 255) throw new TypeError("a name has 1 to 255 bytes")
      return this.ext(REGISTERED, new Uint8Array([0xd9, name.length, ...name, ...value.data]))
    }
    if (value instanceof Extension) return this.ext(value.code, value.data)
    const proto = Object.getPrototypeOf(value)
    if (proto === Object.prototype || proto === null) return this.map(Object.entries(value))
    throw new TypeError(`a ${value.constructor?.name} cannot be sent: make a plain object of it`)
  }
}

function dateFields(date) {
  if (date instanceof DateTime && date.getTime() === date.made) return date.fields
  if (Number.isNaN(date.getTime())) throw new TypeError("an invalid Date cannot be sent")
  return [date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(),
    date.getUTCMinutes(), date.getUTCSeconds(), 1000 * date.getUTCMilliseconds(), 0, 0]
}

function arrayFields(array) {
  const dtype = Object.keys(NATIVE).find(dtype => array.constructor === NATIVE[dtype])
  if (!dtype) throw new TypeError(`a ${array.constructor.name} cannot be sent`)
  return [dtype, [array.length], 0, new Uint8Array(array.buffer, array.byteOffset, array.byteLength)]
}

function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], byte => parseInt(byte, 16))
}

class Reader {
  constructor(bytes, nested = 0) {
    if (nested > NESTED_MOST) throw new RangeError(`more than ${NESTED_MOST} extension values nested`)
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.at = 0
    this.depth = 0
    this.nested = nested
  }

  skip(size) {
    if (this.at + size > this.bytes.length) throw new RangeError("the value is cut off")
    this.at += size
    return this.at - size
  }

  uint(size) {
    const at = this.skip(size)
    if (size === 1) return this.view.getUint8(at)
    return size === 2 ? this.view.getUint16(at) : this.view.getUint32(at)
  }

  whole() {
    const value = this.value()
    if (this.at !== this.bytes.length) throw new RangeError("there is more than one value")
    return value
  }

  value() {
    const code = this.uint(1)
    if (code < 0x80) return code
    if (code >= 0xe0) return code - 0x100
    if (code < 0x90) return this.map(code & 15)
    if (code < 0xa0) return this.array(code & 15)
    if (code < 0xc0) return this.text(code & 31)
    switch (code) {
      case 0xc0: return null
      case 0xc2: return false
      case 0xc3: return true
      case 0xc4: case 0xc5: case 0xc6: return this.binary(this.uint(1 << (code - 0xc4)))
      case 0xc7: case 0xc8: case 0xc9: return this.ext(this.uint(1 << (code - 0xc7)))
      case 0xca: return this.view.getFloat32(this.skip(4))
      case 0xcb: return this.view.getFloat64(this.skip(8))
      case 0xcc: case 0xcd: case 0xce: return this.uint(1 << (code - 0xcc))
      case 0xcf: return small(this.view.getBigUint64(this.skip(8)))
      case 0xd0: return this.view.getInt8(this.skip(1))
      case 0xd1: return this.view.getInt16(this.skip(2))
      case 0xd2: return this.view.getInt32(this.skip(4))
      case 0xd3: return small(this.view.getBigInt64(this.skip(8)))
      case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return this.ext(1 << (code - 0xd4))
      case 0xd9: case 0xda: case 0xdb: return this.text(this.uint(1 << (code - 0xd9)))
      case 0xdc: case 0xdd: return this.array(this.uint(2 << (code - 0xdc)))
      case 0xde: case 0xdf: return this.map(this.uint(2 << (code - 0xde)))
    }
    throw new TypeError("no MessagePack")
  }

  text(size) {
    const at = this.skip(size)
    return fromUTF8.decode(this.bytes.subarray(at, at + size))
  }

  binary(size) { // copied: so it does not keep the whole frame, and its items are aligned
    const at = this.skip(size)
    return this.bytes.slice(at, at + size)
  }

  deeper(count) {
    if (++this.depth > DEEP_MOST) throw new RangeError("nested too deeply")
    if (count > this.bytes.length - this.at) throw new RangeError("the value is cut off")
  }

  array(count, items = []) {
    this.deeper(count)
    for (let i = 0; i < count; i++) items.push(this.value())
    this.depth--
    return items
  }

  map(count) {
    this.deeper(count)
    const entries = []
    for (let i = 0; i < count; i++) entries.push([this.value(), this.value()])
    this.depth--
    // `fromEntries` defines: a key "__proto__" is a key like any other.
    const plain = entries.every(([key]) => typeof key === "string")
    return plain ? Object.fromEntries(entries) : new Map(entries)
  }

  ext(size) {
    const code = this.view.getInt8(this.skip(1)), data = this.binary(size)
    const items = () => {
      const found = new Reader(data, this.nested + 1).whole()
      if (!Array.isArray(found)) throw new TypeError(`extension ${code} has no array`)
      return found
    }
    const numbers = new DataView(data.buffer)
    switch (code) {
      case REGISTERED: return registered(data)
      case TUPLE: return Tuple.from(items())
      case SET: return new Set(items())
      case FROZENSET: return new FrozenSet(items())
      case INTEGER: return integer(data)
      case COMPLEX: return new Complex(numbers.getFloat64(0), numbers.getFloat64(8))
      case DECIMAL: return new Decimal(fromUTF8.decode(data))
      case UUID_: return new UUID(hex(data).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-"))
      case DATE: return new PlainDate(...items())
      case TIME: {
        const [hour, minute, second, microsecond, fold, ...zone] = items()
        return new PlainTime(hour, minute, second, microsecond, fold, zone)
      }
      case DATETIME: return new DateTime(items())
      case TIMEDELTA: return new Duration(...items())
      case ARRAY: {
        const [dtype, shape, flags, bytes] = items()
        return new NDArray(dtype, shape, bytes, flags)
      }
      case SCALAR: return new NumPyScalar(...items())
      case -1: return timestamp(numbers)
    }
    if (code < 0) throw new TypeError(`extension ${code}, which MessagePack keeps for itself`)
    return new Extension(code, data)
  }
}

function small(value) {
  return BigInt.asIntN(54, value) === value && value !== -(1n << 53n) ? Number(value) : value
}

function registered(data) {
  if (data.length < 3 || data[0] !== 0xd9 || data.length <= 2 + data[1]) {
    throw new TypeError("a registered value without its name")
  }
  const end = 2 + data[1]
  return new Registered(fromUTF8.decode(data.subarray(2, end)), data.slice(end))
}

function joined(parts) {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) { all.set(part, at); at += part.length }
  return all
}

const hex = data => Array.from(data, byte => pad(byte.toString(16))).join("")

function integer(data) {
  return small(data.length ? BigInt.asIntN(8 * data.length, BigInt("0x" + hex(data))) : 0n)
}

function timestamp(numbers) {
  const size = numbers.byteLength
  if (size === 4) return new Date(1000 * numbers.getUint32(0))
  if (size === 12) return new Date(1000 * Number(numbers.getBigInt64(4)) + numbers.getUint32(0) / 1e6)
  const both = numbers.getBigUint64(0)
  return new Date(1000 * Number(both & 0x3ffffffffn) + Number(both >> 34n) / 1e6)
}

/** Return a value as bytes, in the encoding of the wire. */
export function encode(value) {
  const writer = new Writer()
  writer.value(value)
  return writer.bytes.slice(0, writer.at)
}

/** Return the one value that bytes hold. */
export function decode(bytes) {
  return new Reader(bytes).whole()
}

// ----------------------------------------------------------------------------------- the client

/** What the gateway has refused, or a request that failed; `reason` is one word. */
export class Refused extends Error {
  constructor(reason, text) {
    super(text || reason)
    this.name = "Refused"
    this.reason = reason
  }
}

const ACK_EVERY = 16, ACK_AFTER = 20, QUEUED_MOST = 10_000
const FIRST_DELAY = 250, LONGEST_DELAY = 15_000, WELCOME_MOST = 10_000
const FINAL = new Set([4400, 4401, 4403, 4409, 4413]) // trying again would not help

/** Connect to a gateway. Returns at once; what is asked before it is connected waits. */
export function connect(url, options = {}) {
  return new Client(url, options)
}

class Client extends EventTarget {
  #url; #token; #WebSocket; #socket = null; #limits = { message_bytes: 1 << 20, window: 256, replies: 1024 }
  #session = ""; #handled = 0; #ids = 0; #numbers = 0; #delay = FIRST_DELAY; #timer = null
  #subscriptions = new Map() // by id
  #queued = [] // calls that no frame was made of yet
  #waiting = new Map() // by number: calls whose reply has not come
  #pending = new Set() // positions that came and are not handled
  #beat; #heard = 0; #beatTimer = null
  #newest = 0; #acked = 0; #helloed = 0; #ackTimer = null; #welcome = false; #closed = false

  constructor(url, { token = "", heartbeat = 10, WebSocket = globalThis.WebSocket } = {}) {
    super()
    const base = globalThis.location ? globalThis.location.href : undefined
    this.#url = new URL(url, base).href.replace(/^http/, "ws")
    this.#token = token
    this.#beat = 1000 * heartbeat
    this.#WebSocket = WebSocket
    this.#open()
  }

  /** Whether the gateway has welcomed the connection that there is. */
  get connected() { return this.#welcome }

  /** Return an exchange by its name, or what a pattern covers. */
  exchange(name) { return new Exchange(this, name) }

  /** Have `fn(detail)` called at each event of a kind; return a function that undoes it.
   * Kinds: "connected", "disconnected", "reconnected", "lost", "refused", "error". */
  on(kind, fn) {
    const listener = event => fn(event.detail)
    this.addEventListener(kind, listener)
    return () => this.removeEventListener(kind, listener)
  }

  /** Leave: nothing more is received, and what has no reply yet fails. */
  close() {
    this.#end(new Refused("closed", "the client was closed"))
    this.#socket?.close(1000)
  }

  #end(error) {
    this.#closed = true
    for (const timer of [this.#timer, this.#ackTimer, this.#beatTimer]) clearTimeout(timer)
    this.#fail([...this.#waiting.values(), ...this.#queued], error)
    this.#waiting.clear()
    this.#queued = []
  }

  #fail(calls, error) { for (const call of calls) call.reject(error) }

  #tell(kind, detail) { this.dispatchEvent(new CustomEvent(kind, { detail })) }

  // Connections.

  #open() {
    const socket = (this.#socket = new this.#WebSocket(this.#url))
    socket.binaryType = "arraybuffer"
    socket.onopen = () => {
      this.#helloed = this.#handled
      const [token, session, received] = [this.#token, this.#session, this.#newest]
      socket.send(JSON.stringify({ zexchange: 1, token, session, received, handled: this.#handled }))
    }
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket || this.#closed) return
      this.#heard = performance.now()
      try {
        this.#frame(decode(new Uint8Array(data)))
      } catch (error) {
        this.#tell("error", { error })
        socket.close(4000)
      }
    }
    socket.onerror = () => {}
    // Some connections neither open nor end.
    this.#timer = setTimeout(() => this.#drop("no welcome came"), WELCOME_MOST)
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket) this.#gone(code, reason)
    }
  }

  #drop(reason) { // a connection that may never end by itself
    const socket = this.#socket
    this.#gone(4000, reason)
    socket.close()
  }

  #watch(after, asked = -1, spared = false) { // that something comes: a connection may be dead in silence
    const due = performance.now() + after
    this.#beatTimer = setTimeout(() => {
      const now = performance.now(), quiet = now - this.#heard
      if (quiet < this.#beat) return this.#watch(this.#beat - quiet)
      const silent = asked > this.#heard
      // If this timer was held up, so was perhaps what has come: ask once more, and only once.
      const spare = now - due > this.#beat && !spared
      if (silent && !spare) return this.#drop("the gateway gave no sign of life")
      this.#put(encode(["ping"]))
      this.#watch(this.#beat, now, silent)
    }, after)
  }

  #gone(code, reason) {
    const was = this.#welcome
    this.#welcome = false
    this.#socket = null
    clearTimeout(this.#timer)
    clearTimeout(this.#beatTimer)
    if (this.#closed) return
    if (was) this.#tell("disconnected", { code, reason })
    if (code >= 4400) this.#tell("refused", { reason: String(code), text: reason })
    if (FINAL.has(code)) return this.#end(new Refused(String(code), reason))
    const delay = this.#delay * (0.5 + Math.random()) // not all browsers at one moment
    this.#delay = Math.min(2 * this.#delay, LONGEST_DELAY)
    this.#timer = setTimeout(() => this.#open(), delay)
  }

  #frame([kind, ...rest]) {
    switch (kind) {
      case "welcome": return this.#welcomed(...rest)
      case "message": return this.#message(...rest)
      case "done": return this.#reply(rest[0], rest[1], call => call.resolve(rest[2]))
      case "refused": {
        const [position, number, reason, text] = rest
        this.#tell("refused", { reason, text })
        return this.#reply(position, number, call => call.reject(new Refused(reason, text)))
      }
      case "missed": {
        if (!this.#came(rest[0])) return
        this.#tell("lost", { exchanges: rest[1], others: rest[2], unknown: false })
        return this.#done(rest[0])
      }
    }
  }

  #welcomed(version, session, resumed, taken, limits) {
    const before = this.#session
    this.#session = session
    this.#limits = limits
    this.#delay = FIRST_DELAY
    this.#welcome = true
    clearTimeout(this.#timer)
    clearTimeout(this.#beatTimer)
    this.#watch(this.#beat)
    if (resumed) {
      this.#acked = this.#helloed
      for (const [number, call] of this.#waiting) if (number > taken) this.#put(call.frame)
    } else {
      this.#begin(before !== "")
    }
    this.#flush()
    this.#tell(before ? "reconnected" : "connected", { resumed })
  }

  #begin(again) { // a session of its own: the gateway knows nothing of the one before
    const unknown = [...this.#waiting.values()]
    this.#waiting.clear()
    this.#pending.clear()
    this.#numbers = this.#newest = this.#acked = this.#handled = 0
    const text = "the gateway has forgotten this browser: whether it was done is not known"
    this.#fail(unknown.filter(call => !call.subscription), new Refused("unknown", text))
    if (!again) return
    const calls = new Map([...unknown, ...this.#queued].map(call => [call.subscription, call]))
    const others = this.#queued.filter(call => !call.subscription)
    const drop = subscription => () => this.#subscriptions.delete(subscription.id)
    this.#queued = [...this.#subscriptions.values()].map(subscription => calls.get(subscription) ??
      { ...this.#attaching(subscription), resolve: () => {}, reject: drop(subscription) })
    this.#queued.push(...others)
    this.#tell("lost", { exchanges: {}, others: 0, unknown: true })
  }

  #put(frame) { this.#socket.send(frame) }

  // Messages, and their acknowledgement.

  #came(position) {
    if (position <= this.#newest) return false // it came before the reconnection
    this.#pending.add(position)
    this.#newest = position
    return true
  }

  #message(position, id, exchange, sentAt, value, headers) {
    if (!this.#came(position)) return
    const subscription = this.#subscriptions.get(id), session = this.#session
    const over = () => { if (session === this.#session) this.#done(position, subscription?.group) }
    if (!subscription) return over()
    subscription.give(value, { exchange, sentAt, headers }, error => this.#tell("error", { error, exchange }), over)
  }

  #handledUpTo() {
    let first = Infinity
    for (const position of this.#pending) first = Math.min(first, position)
    return first === Infinity ? this.#newest : first - 1
  }

  #done(position, atOnce = false) {
    this.#pending.delete(position)
    this.#handled = Math.max(this.#handled, this.#handledUpTo())
    if (!this.#welcome || this.#handled <= this.#acked) return
    if (atOnce || this.#pending.size === 0 && this.#handled - this.#acked >= ACK_EVERY ||
        this.#handled - this.#acked >= this.#limits.window / 4) return this.#acknowledge()
    this.#ackTimer ??= setTimeout(() => this.#acknowledge(), ACK_AFTER)
  }

  #acknowledge() {
    clearTimeout(this.#ackTimer)
    this.#ackTimer = null
    if (!this.#welcome || this.#handled <= this.#acked) return
    this.#acked = this.#handled
    this.#put(encode(["ack", this.#handled]))
  }

  #reply(position, number, settle) {
    if (!this.#came(position)) return
    const call = this.#waiting.get(number)
    this.#waiting.delete(number)
    if (call) settle(call)
    this.#done(position)
    this.#flush()
  }

  // Calls.

  /** Internal: have a frame made of a call and sent; the promise is of its reply. */
  _call(kind, ...parts) {
    // Encoded at once: the caller may change the message later, and hears of what cannot be sent.
    const tail = joined(parts.map(encode))
    if (tail.length > this.#limits.message_bytes - 100) {
      throw new RangeError(`a frame has at most ${this.#limits.message_bytes} bytes`)
    }
    return this.#queue({ kind, tail, count: parts.length + 2 })
  }

  #queue(call) {
    const promise = new Promise((resolve, reject) => {
      if (this.#closed) return reject(new Refused("closed", "the client was closed"))
      if (this.#queued.length >= QUEUED_MOST) return reject(new Refused("full", "too much waits"))
      this.#queued.push(Object.assign(call, { resolve, reject }))
    })
    promise.catch(() => {}) // who does not wait hears of it by the event "refused"
    this.#flush()
    return promise
  }

  #flush() {
    while (this.#welcome && this.#queued.length && this.#waiting.size < this.#limits.replies / 4) {
      const call = this.#queued.shift(), number = ++this.#numbers
      call.frame = joined([[0x90 | call.count], encode(call.kind), encode(number), call.tail])
      this.#waiting.set(number, call)
      this.#put(call.frame)
    }
  }

  #attaching(subscription) {
    const { id, key, history, group } = subscription
    return { kind: "attach", tail: joined([id, key, history, group].map(encode)), count: 6, subscription }
  }

  /** Internal. */
  _attach(key, fn, { history = 0, group = "" } = {}) {
    const subscription = new Subscription(++this.#ids, key, fn, history, group)
    this.#subscriptions.set(subscription.id, subscription)
    const attached = this.#queue(this.#attaching(subscription))
    attached.catch(() => this.#subscriptions.delete(subscription.id))
    return attached
  }

  /** Internal. */
  _detach(key, fn) {
    const found = [...this.#subscriptions.values()].find(s => s.key === key && s.fn === fn)
    if (!found) return Promise.reject(new Refused("unknown", `it is not attached to ${key}`))
    this.#subscriptions.delete(found.id)
    const queued = this.#queued.findIndex(call => call.subscription === found)
    if (queued >= 0) {
      this.#queued.splice(queued, 1)[0].resolve(null)
      return Promise.resolve(null)
    }
    return this._call("detach", found.id)
  }
}

class Subscription {
  constructor(id, key, fn, history, group) {
    Object.assign(this, { id, key, fn, history, group })
    this.last = null // the promise of the message that is being handled
  }

  give(value, details, failed, over) { // in order, each after the one before
    const handle = () => {
      try {
        const result = this.fn(value, details)
        return typeof result?.then === "function" ? Promise.resolve(result).catch(failed) : null
      } catch (error) {
        failed(error)
        return null
      }
    }
    const done = this.last ? this.last.then(handle) : handle()
    if (done === null) return over()
    const last = (this.last = done.then(() => {
      if (this.last === last) this.last = null
      over()
    }))
  }
}

class Exchange {
  #client
  constructor(client, name) {
    this.#client = client
    this.name = name
  }

  /** Have `fn(message, {exchange, sentAt, headers})` called; the promise resolves when it is in force. */
  attach(fn, options) { return this.#client._attach(this.name, fn, options) }

  /** Undo `attach`. */
  detach(fn) { return this.#client._detach(this.name, fn) }

  /** Send a message; the promise resolves when the gateway has passed it on. Headers are a plain
   * object of a few short values, such as `{ traceparent }`. */
  send(message, { headers } = {}) {
    return this.#client._call("send", this.name, message, ...(headers ? [headers] : []))
  }

  /** Return the answer of a responder; `timeout` is in seconds, headers as of `send`. */
  request(message, { timeout = 2, headers } = {}) {
    const more = headers ? [headers] : []
    return this.#client._call("request", this.name, timeout, message, ...more)
  }
}
