/**
 * One server, as a client talks to it: sockets, patience, and the token that goes nowhere else.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import type { HeadStart } from '../wire/head-start.ts'
import { keepPace, type Pace } from '../wire/pace.ts'
import { openPlainWire } from '../wire/plain-wire.ts'
import type { Wire, WireReply, WireRequest } from '../wire/wire.ts'
import { interrupted } from './interruption.ts'

export interface ConnectOptions {
  /** Address of the server, `http:` or `https:`, with or without a path; no user and password in it. */
  url: string
  /** Bearer token. It is sent to the origin of `url` and nowhere else. */
  token?: string | undefined
  /** Sent as `User-Agent`. */
  userAgent?: string | undefined
  /** Ends every call of this connection. */
  signal?: AbortSignal | undefined
  /** Proxies by scheme; absent: none is used. */
  proxy?: ProxyOptions | undefined
  timing?: Partial<Timing> | undefined
}

export interface ProxyOptions {
  /** For `http:` addresses. */
  http?: string | undefined
  /** For `https:` addresses. */
  https?: string | undefined
  /** Hosts that are reached directly, as in `NO_PROXY`. */
  none?: string | undefined
}

/** Patience, in milliseconds where nothing else is said. */
export interface Timing extends Pace {
  /** For a connection to be made [10 s]. */
  connectMs: number
  /** For a reply to begin, once the request is sent [120 s]. */
  replyMs: number
  /** Without a single byte moving, before a request is given up and tried again [30 s]. */
  stallMs: number
  /** An answer is given up, and asked for again, when it was waited for so long [60 s] … */
  paceMs: number
  /** … and brought less than this [16 KiB]. A store or server can send a byte now and then for ever. */
  paceBytes: number
  /** Bound of the random delay before the first retry; it doubles with every further one [0.5 s]. */
  retryFirstMs: number
  /** Largest bound of that delay [30 s]. */
  retryMaxMs: number
  /** A transfer gives up when nothing has moved for so long [15 min]. */
  noProgressMs: number
  /** After this time a transfer can be called slow [1 s]; then more requests work side by side. */
  slowMs: number
  /** A stream that has carried less than this by then is slow, in bytes per second [16 MiB/s]. */
  slowBytesPerSecond: number
  /**
   * A stream that brings less than this while it is waited for may have been given a share [128 MiB/s];
   * then several are tried.
   */
  sharedBytesPerSecond: number
  /** They stay if they bring so many times what the one did [1.2]: each of them costs processor time. */
  gainMin: number
  /** A network is far when no answer has come faster [60 ms]; then a quarter of `slowMs` tells. */
  farMs: number
}

const DEFAULT_TIMING: Timing = {
  connectMs: 10_000,
  replyMs: 120_000,
  stallMs: 30_000,
  paceMs: 60_000,
  paceBytes: 16_384,
  retryFirstMs: 500,
  retryMaxMs: 30_000,
  noProgressMs: 15 * 60_000,
  slowMs: 1000,
  slowBytesPerSecond: 16 * 1024 ** 2,
  sharedBytesPerSecond: 128 * 1024 ** 2,
  gainMin: 1.2,
  farMs: 60,
}

export interface HttpRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Absolute, or relative to the server's own address. */
  url: string
  headers?: Record<string, string> | undefined
  /** An iterable is sent as it is read; its `content-length` must be among the headers. */
  body?: string | Iterable<Uint8Array> | AsyncIterable<Uint8Array> | undefined
  /** Sends the bearer token; only to the server's own origin. */
  authorize: boolean
  /**
   * A GET of bytes that may be many: they come over a socket of its own, into memory that is used again,
   * so that a chunk of the reply is good until the next one is asked for.
   */
  isBulk?: boolean | undefined
  /** The answer is news as they happen: there is no least pace for it. */
  isLive?: boolean | undefined
  /** Ends the request; an `ArtifactError` given as its reason is what is thrown. */
  signal?: AbortSignal | undefined
}

export interface HttpReply {
  status: number
  /** By lower-case name; of a repeated header the last value. */
  headers: Record<string, string>
  /** Read it to its end or call {@link HttpReply.drop}; throws as {@link Connection.send} does. */
  body: AsyncIterable<Uint8Array>
  /** Gives up what is left of the body. */
  drop(): void
}

/** A server, as a client talks to it. Dispose of it to close its sockets. */
export interface Connection extends AsyncDisposable {
  /** Address of the server, without a slash at the end. */
  readonly url: string
  readonly timing: Timing
  /**
   * Sends one request, once; redirects are not followed. Throws `unreachable` for any trouble of
   * the network, `interrupted` when a signal fired.
   */
  send(request: HttpRequest): Promise<HttpReply>
  /**
   * Whether all connections so far took long to make, and all answers long to begin; `false` before the
   * first one. A server that is busy answers late, but is soon connected.
   */
  isFar(): boolean
}

/** After how many ms a transfer can be called slow: sooner over a far network, which likely is. */
export function patienceMs({ timing, isFar }: Pick<Connection, 'timing' | 'isFar'>): number {
  return Math.ceil(isFar() ? timing.slowMs / 4 : timing.slowMs)
}

/** Whether a transfer that moved so many bytes since then is slow. */
export function isSlow({ slowBytesPerSecond }: Timing, bytes: number, sinceMs: number): boolean {
  return bytes * 1000 < slowBytesPerSecond * (performance.now() - sinceMs)
}

/**
 * Makes a connection; nothing is sent yet. With a head start its first request need not wait to be
 * connected. Throws `configuration` when the address is not usable.
 */
export function connect(options: ConnectOptions, headStart?: HeadStart): Connection {
  const server = parseServerUrl(options.url)
  const timing = { ...DEFAULT_TIMING, ...options.timing }
  const wires = openWires(timing, options.proxy, headStart)
  let fastestMs = Number.POSITIVE_INFINITY
  const noteTime = (milliseconds: number) => {
    fastestMs = Math.min(fastestMs, milliseconds)
  }
  const base = `${server.origin}${server.pathname.replace(/\/+$/, '')}`
  return {
    url: base,
    timing,
    async send(request) {
      const url = new URL(request.url.startsWith('/') ? base + request.url : request.url)
      const headers: Record<string, string> = { 'accept-encoding': 'identity', ...request.headers }
      if (options.userAgent !== undefined) headers['user-agent'] = options.userAgent
      if (request.authorize && url.origin === server.origin && options.token !== undefined)
        headers.authorization = `Bearer ${options.token}`
      const signals = [options.signal, request.signal].filter((signal) => signal !== undefined)
      const { method, body, isBulk = false, isLive = false } = request
      const [only, ...others] = signals
      const signal = only !== undefined && others.length === 0 ? only : AbortSignal.any(signals)
      // Node would load a module for the global performance, which a question needs for nothing else.
      const began = process.hrtime.bigint()
      const reply = await send(
        wires,
        { method, url, headers, body, signal, onConnected: noteTime },
        isBulk,
      )
      const paced = isLive ? reply.body : keepPace(reply.body, timing)
      // With many bytes to send the time would tell of those.
      const isShort = body === undefined || typeof body === 'string'
      if (isShort) noteTime(Number(process.hrtime.bigint() - began) / 1_000_000)
      return { ...reply, body: guardBody(paced, url, signal) }
    },
    isFar: () => Number.isFinite(fastestMs) && fastestMs > timing.farMs,
    [Symbol.asyncDispose]: () => wires.close(),
  }
}

function parseServerUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  // The text is not repeated in the message: a password may be in it.
  if (url === undefined || !['http:', 'https:'].includes(url.protocol))
    throw unusable('it is no http: or https: address')
  if (url.username !== '' || url.password !== '')
    throw unusable('it holds a user or a password; give a token instead')
  if (url.search !== '' || url.hash !== '') throw unusable('it holds a query or a fragment')
  return url
}

function unusable(reason: string): ArtifactError {
  return new ArtifactError('configuration', `Cannot use the address of the server: ${reason}`, {
    expected: 'an address such as https://artifacts.example',
  })
}

/** The HTTP clients of a connection, each loaded when it is needed. */
interface Wires {
  choose(): Wire | Promise<Wire>
  /** `undefined` where the bulk client cannot help. */
  sendBulk(request: WireRequest): Promise<WireReply | undefined>
  close(): Promise<void>
}

function openWires(
  timing: Timing,
  proxy: ProxyOptions | undefined,
  headStart: HeadStart | undefined,
): Wires {
  const plain = openPlainWire(timing, headStart)
  let general: Promise<Wire> | undefined
  const loadGeneral = async () => {
    const { openGeneralWire } = await import('../wire/general-wire.ts')
    return openGeneralWire(timing, proxy)
  }
  return {
    choose() {
      if (proxy === undefined) return plain
      general ??= loadGeneral()
      return general
    },
    async sendBulk(request) {
      // A proxy has its own ways to be spoken to.
      if (proxy !== undefined) return undefined
      const { requestBulk } = await import('../wire/bulk-reply.ts')
      return requestBulk({ ...timing, ...request })
    },
    async close() {
      await plain.close()
      await (await general?.catch(() => undefined))?.close()
    },
  }
}

async function send(wires: Wires, request: WireRequest, isBulk: boolean): Promise<WireReply> {
  const { url, signal } = request
  try {
    signal.throwIfAborted()
    return (
      (isBulk ? await wires.sendBulk(request) : undefined) ??
      (await (await wires.choose()).send(request))
    )
  } catch (error) {
    throw transportError(url, error, signal)
  }
}

async function* guardBody(
  body: AsyncIterable<Uint8Array>,
  url: URL,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (error) {
    throw transportError(url, error, signal)
  }
}

/** What the network did, without path and query: a signature may be in them. */
function transportError(url: URL, error: unknown, signal: AbortSignal): ArtifactError {
  const { reason }: { reason: unknown } = signal
  if (signal.aborted && reason instanceof ArtifactError) return reason
  if (signal.aborted) return interrupted(reason)
  if (error instanceof ArtifactError) return error
  return new ArtifactError('unreachable', `Cannot reach ${url.origin}: ${describe(error)}`, {
    cause: error,
  })
}

const STATES: Record<string, string> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'there is no host of that name',
  EAI_AGAIN: 'the name of the host cannot be looked up now',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
  ETIMEDOUT: 'no answer in time',
  EHOSTUNREACH: 'there is no way to that host',
  ENETUNREACH: 'there is no way to that network',
  UND_ERR_SOCKET: 'the connection was cut',
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'the answer stopped coming',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the answer was cut short',
}

function describe(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return describe(error.errors[0])
  if (!(error instanceof Error)) return String(error)
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return STATES[code] ?? `${error.message}${code === '' ? '' : ` (${code})`}`
}
