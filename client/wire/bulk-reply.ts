/**
 * One GET over a socket of its own, whose body comes straight into memory that is used again: no copy
 * and no new buffer for each piece, as any general HTTP client makes. For the bytes of large artifacts.
 *
 * It speaks the least of HTTP/1.1 (RFC 9112) that those need: an answer 200 or 206 of a stated length.
 * For anything else it answers `undefined`, and the caller asks again by the general client.
 */
import { connect as connectTcp, isIP, type Socket, type TcpNetConnectOpts } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { allocatePages, freeChunk } from '../memory/spent-chunk.ts'

/** Longest head of an answer that is read. */
const HEAD_BYTES_MAX = 64 * 1024
/** Memory for a body, unless all of it is held: what is being written, what is being filled, and some between. */
const BUFFER_BYTES = 1024 ** 2
const BUFFERS = 4
/** A slow network fills no buffer: after this time what there is goes on. */
const GATHER_MS = 100

export interface BulkRequest {
  url: URL
  headers: Readonly<Record<string, string>>
  /** For a connection to be made, in ms. */
  connectMs: number
  /** For the answer to begin, in ms. */
  replyMs: number
  /** What came goes on after this time, though it fills no buffer, in ms [100]. */
  gatherMs?: number | undefined
  /** A body of up to so many bytes comes into memory before anybody reads it. */
  hold?: HeldBody | undefined
  signal: AbortSignal
}

/** A body that is held as a whole. */
export interface HeldBody {
  sizeBytes: number
  /** Buffers of 1 MiB to use before new ones are made; those of pieces that were read come here. */
  spare: Buffer[]
}

export interface BulkReply {
  status: number
  /** By lower-case name; of a repeated header the last value. */
  headers: Record<string, string>
  /** Of the body. */
  sizeBytes: number
  /** Pieces of up to 1 MiB; each is good until the next one is asked for. */
  body: AsyncIterable<Uint8Array>
  /** Gives up what is left of the body. */
  drop(): void
}

/** Sends the request; throws errors of the network as the socket has them. */
export async function requestBulk(request: BulkRequest): Promise<BulkReply | undefined> {
  const text = formatRequest(request)
  if (text === undefined) return undefined
  request.signal.throwIfAborted()
  const inflow = createInflow(request)
  const socket = openSocket(request.url, inflow)
  const abort = () => socket.destroy(toError(request.signal.reason))
  request.signal.addEventListener('abort', abort, { once: true })
  const timer = new Timer(socket, request)
  socket.once('connect', () => timer.awaitReply())
  socket.once('close', () => {
    timer.stop()
    request.signal.removeEventListener('abort', abort)
    inflow.end(socket.errored ?? undefined)
  })
  // The reason is kept by the socket, and told when it closes.
  socket.on('error', () => undefined)
  inflow.attach(socket)
  socket.write(text, 'latin1')
  try {
    const head = await inflow.head
    timer.stop()
    const reply = parseHead(head)
    if (reply === undefined) {
      socket.destroy()
      return undefined
    }
    inflow.expect(reply.sizeBytes)
    return { ...reply, body: drain(inflow, socket), drop: () => socket.destroy() }
  } catch (error) {
    socket.destroy()
    throw error
  }
}

/** One after the other: to be connected, and to be answered. */
class Timer {
  readonly #socket: Socket
  readonly #replyMs: number
  #timer: NodeJS.Timeout

  constructor(socket: Socket, { connectMs, replyMs }: BulkRequest) {
    this.#socket = socket
    this.#replyMs = replyMs
    this.#timer = this.#start(connectMs, 'UND_ERR_CONNECT_TIMEOUT')
  }

  awaitReply(): void {
    clearTimeout(this.#timer)
    this.#timer = this.#start(this.#replyMs, 'UND_ERR_HEADERS_TIMEOUT')
  }

  stop(): void {
    clearTimeout(this.#timer)
  }

  #start(ms: number, code: string): NodeJS.Timeout {
    return setTimeout(() => this.#socket.destroy(Object.assign(new Error(code), { code })), ms)
  }
}

/** The request as text; `undefined` when a header is not what a header may be (RFC 9110, 5.5). */
function formatRequest({ url, headers }: BulkRequest): string | undefined {
  const lines = Object.entries({ host: url.host, ...headers, connection: 'close' })
  const isClean = lines.every(
    ([name, value]) => /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) && /^[\t\x20-\x7e]*$/.test(value),
  )
  if (!isClean) return undefined
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  return `GET ${url.pathname}${url.search} HTTP/1.1\r\n${head}\r\n`
}

function openSocket(url: URL, inflow: Inflow): Socket {
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const isSecure = url.protocol === 'https:'
  const options: TcpNetConnectOpts = {
    host,
    port: url.port === '' ? (isSecure ? 443 : 80) : Number(url.port),
    noDelay: true,
    onread: { buffer: inflow.next, callback: inflow.take },
  }
  if (!isSecure) return connectTcp(options)
  const servername = isIP(host) === 0 ? { servername: host } : {}
  return connectTls({ ...options, ...servername, ALPNProtocols: ['http/1.1'] })
}

interface Head {
  status: number
  headers: Record<string, string>
  sizeBytes: number
}

/** `undefined` for an answer that is not of the plain kind that this is for. */
function parseHead(text: string): Head | undefined {
  const [first = '', ...lines] = text.split('\r\n')
  const status = /^HTTP\/1\.1 (200|206)(?: |$)/.exec(first)?.[1]
  if (status === undefined) return undefined
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? []
    if (name === undefined || value === undefined) return undefined
    const key = name.toLowerCase()
    // Two lengths are how one answer is made to look like two (RFC 9112, 6.3).
    if (key === 'content-length' && key in headers) return undefined
    headers[key] = value
  }
  const length = headers['content-length']
  if (length === undefined || !/^[0-9]{1,15}$/.test(length)) return undefined
  if ('transfer-encoding' in headers || 'content-encoding' in headers) return undefined
  return { status: Number(status), headers, sizeBytes: Number(length) }
}

/** Where the bytes of a socket go: first the head of the answer, then one buffer after the other. */
interface Inflow {
  /** Resolves to the head without its empty line; rejects when the socket ends before. */
  readonly head: Promise<string>
  /** Memory for what comes next. */
  next: () => Uint8Array
  /** So many bytes came; `false` when there is no room for more now. */
  take: (count: number) => boolean
  attach(socket: Socket): void
  /** Says how long the body is. */
  expect(sizeBytes: number): void
  /** No more bytes come. */
  end(error: Error | undefined): void
  /** The next piece; `undefined` after the last. Its memory is given back by {@link Inflow.release}. */
  piece(): Promise<Uint8Array | undefined>
  release(piece: Uint8Array): void
  /** Gives the memory that nobody uses back to the system, now: the garbage collector is in no hurry. */
  free(): void
}

function createInflow({ gatherMs = GATHER_MS, hold }: BulkRequest): Inflow {
  // One more than the body needs, since the last free one is kept.
  const buffersMax = hold === undefined ? BUFFERS : Math.ceil(hold.sizeBytes / BUFFER_BYTES) + 1
  const head = Promise.withResolvers<string>()
  head.promise.catch(() => undefined)
  const headBytes = Buffer.allocUnsafeSlow(HEAD_BYTES_MAX)
  let headFilled = 0
  let isBody = false
  /** Bytes of the body that are to come; not known before the head was read. */
  let left = Number.POSITIVE_INFINITY
  let current: Buffer = headBytes
  let filled = 0
  let passedAtMs = performance.now()
  const free: Buffer[] = []
  let made = 0
  const full: Uint8Array[] = []
  let ending: { error: Error | undefined } | undefined
  let wake: (() => void) | undefined
  let socket: Socket | undefined

  const takeBuffer = (): Buffer => {
    const used = free.pop()
    if (used !== undefined || made === buffersMax) return used ?? Buffer.alloc(0)
    made += 1
    return hold?.spare.pop() ?? allocatePages(BUFFER_BYTES)
  }
  const pass = () => {
    full.push(current.subarray(0, filled))
    current = left === 0 ? Buffer.alloc(0) : takeBuffer()
    filled = 0
    passedAtMs = performance.now()
    wake?.()
  }
  const takeBody = (count: number): boolean => {
    const used = Math.min(count, left)
    filled += used
    left -= used
    const isDue =
      hold === undefined && full.length === 0 && performance.now() - passedAtMs >= gatherMs
    if (filled === current.length || (filled > 0 && (left === 0 || isDue))) pass()
    if (left === 0) socket?.destroy()
    // The last free one is kept: a socket that goes on reads into it before anybody is asked.
    return free.length > 0 || made < buffersMax || left === 0
  }
  const takeHead = (count: number): boolean => {
    headFilled += count
    const end = headBytes.subarray(0, headFilled).indexOf('\r\n\r\n')
    if (end < 0 && headFilled < HEAD_BYTES_MAX) return true
    const rest = end < 0 ? 0 : headFilled - end - 4
    isBody = true
    current = takeBuffer()
    headBytes.copy(current, 0, headFilled - rest, headFilled)
    filled = rest
    // No more is read before the head was looked at.
    head.resolve(headBytes.toString('latin1', 0, Math.max(0, end)))
    return false
  }
  return {
    head: head.promise,
    next: () => (isBody ? current.subarray(filled) : headBytes.subarray(headFilled)),
    take: (count) => (isBody ? takeBody(count) : takeHead(count)),
    attach(one) {
      socket = one
    },
    expect(sizeBytes) {
      filled = Math.min(filled, sizeBytes)
      left = sizeBytes - filled
      passedAtMs = performance.now()
      if (left > 0) {
        // Nothing is passed on here: the socket already knows where in this buffer it reads on.
        socket?.resume()
        return
      }
      if (filled > 0) pass()
      socket?.destroy()
    },
    end(error) {
      ending ??= { error }
      // What came before the end is good: whoever asks again goes on behind it.
      if (Number.isFinite(left) && left > 0 && filled > 0) pass()
      head.reject(error ?? cut())
      wake?.()
    },
    async piece() {
      for (;;) {
        const next = full.shift()
        if (next !== undefined) return next
        if (left === 0) return undefined
        if (ending !== undefined) throw ending.error ?? cut()
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
    release(piece) {
      const given = hold?.spare ?? free
      given.push(Buffer.from(piece.buffer))
      if (left > 0 && ending === undefined) socket?.resume()
    },
    free() {
      for (const buffer of free.splice(0)) freeChunk(buffer)
    },
  }
}

async function* drain(inflow: Inflow, socket: Socket): AsyncGenerator<Uint8Array> {
  try {
    for (;;) {
      const piece = await inflow.piece()
      if (piece === undefined) return
      yield piece
      inflow.release(piece)
    }
  } finally {
    socket.destroy()
    inflow.free()
  }
}

function cut(): Error {
  return Object.assign(new Error('the connection was cut'), { code: 'UND_ERR_SOCKET' })
}

function toError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason))
}
