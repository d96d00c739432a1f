/** Exchanges for browsers: see docs/guide/browsers.md. */

export class Tuple<T = unknown> extends Array<T> {}
export class FrozenSet<T = unknown> extends Set<T> {}

/** A number that is sent as a float, though it is whole. */
export class Float {
  constructor(value: number)
  readonly value: number
}

/** A value of a registered type. */
export class Registered {
  static of(name: string, value: unknown): Registered
  constructor(name: string, data: Uint8Array)
  readonly name: string
  readonly data: Uint8Array
  /** What the type's encoder made of it. */
  readonly value: unknown
}

/** A value of a MessagePack extension that is not known here. */
export class Extension {
  constructor(code: number, data: Uint8Array)
  readonly code: number
  readonly data: Uint8Array
}

export class Complex {
  constructor(re: number, im: number)
  re: number
  im: number
}

export class Decimal {
  constructor(text: string)
  readonly text: string
}

export class UUID {
  constructor(text: string)
  readonly text: string
}

export class PlainDate {
  constructor(year: number, month: number, day: number)
  year: number
  month: number
  day: number
}

/** Nothing; or offset in microseconds, name, key of the IANA database. */
export type Zone = unknown[]

export class PlainTime {
  constructor(hour: number, minute: number, second: number, microsecond?: number, fold?: 0 | 1, zone?: Zone)
  hour: number
  minute: number
  second: number
  microsecond: number
  fold: 0 | 1
  zone: Zone
}

/** A moment with microseconds and a zone. */
export class DateTime extends Date {
  /** Year, month, day, hour, minute, second, microsecond, fold, then the zone. */
  constructor(fields: unknown[])
  readonly fields: unknown[]
  readonly microsecond: number
  readonly zone: Zone
}

export class Duration {
  constructor(days: number, seconds: number, microseconds: number)
  days: number
  seconds: number
  microseconds: number
  readonly milliseconds: number
}

export type DType = string | unknown[] | Record<string, unknown>

/** An array of NumPy. */
export class NDArray {
  constructor(dtype: DType, shape: number[], bytes: Uint8Array, flags?: number)
  dtype: DType
  shape: number[]
  bytes: Uint8Array
  flags: number
  /** Whether the first index varies fastest. */
  readonly fortran: boolean
  /** Its items as a typed array, or their bytes. */
  readonly data: ArrayBufferView
}

export class NumPyScalar {
  constructor(dtype: DType, raw: Uint8Array | string)
  dtype: DType
  raw: Uint8Array | string
  readonly value: unknown
}

/** Throws TypeError or RangeError for what cannot be sent. */
export function encode(value: unknown): Uint8Array
/** Throws TypeError or RangeError for what is no single value. */
export function decode(bytes: Uint8Array): unknown

/** What was refused, or a request that failed. */
export class Refused extends Error {
  constructor(reason: string, text?: string)
  /** One word, such as "subscribe", "publish" or "NoResponders". */
  readonly reason: string
}

export interface Details {
  /** The name of the exchange. */
  exchange: string
  /** When it was sent, in seconds since 1970, by the sender's clock. */
  sentAt: number
  /** The headers that it was sent with; an empty object without any. */
  headers: Headers
}

/** At most eight values, of 128 bytes with their names: texts, numbers and bytes. */
export type Headers = Record<string, string | number | bigint | Uint8Array>

export interface Events {
  connected: { resumed: boolean }
  reconnected: { resumed: boolean }
  disconnected: { code: number; reason: string }
  /** By exchange, how many messages did not come (null: unknown how many). `unknown` is true after
   * the gateway has forgotten this browser: then nobody knows what it missed. */
  lost: { exchanges: Record<string, number | null>; others: number | null; unknown: boolean }
  refused: { reason: string; text: string }
  /** A function has thrown, or a frame could not be read. */
  error: { error: unknown; exchange?: string }
}

export interface Exchange<T = any> {
  readonly name: string
  attach(
    fn: (message: T, details: Details) => unknown,
    options?: { history?: number; group?: string },
  ): Promise<null>
  detach(fn: (message: T, details: Details) => unknown): Promise<null>
  send(message: T, options?: { headers?: Headers }): Promise<null>
  request<R = any>(message: T, options?: { timeout?: number; headers?: Headers }): Promise<R>
}

export interface Client extends EventTarget {
  readonly connected: boolean
  exchange<T = any>(name: string): Exchange<T>
  on<K extends keyof Events>(kind: K, fn: (detail: Events[K]) => void): () => void
  close(): void
}

export function connect(
  url: string | URL,
  options?: {
    token?: string
    /** Seconds in which something has to come, else the gateway is asked for a sign of life; 10 by
     * default. After as long again without one the client connects once more. */
    heartbeat?: number
    WebSocket?: new (url: string) => WebSocket
  },
): Client
