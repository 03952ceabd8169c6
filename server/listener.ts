/** The socket: limits that HTTP itself needs, and an end that lets requests finish. */
import { createServer, type RequestListener, type Server } from 'node:http'
import type { Socket } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import { ArtifactError } from '../schemas/problems.ts'
import type { App } from './http/mount.ts'

export interface Listener extends AsyncDisposable {
  /** As a client on this machine reaches it, for example `http://127.0.0.1:7420`. */
  readonly url: string
}

export interface ListenOptions {
  host: string
  /** 0: any free one. */
  port: number
  /** What requests under way get to end when the listener is disposed of. */
  graceSeconds: number
}

/** Longer than the idle time of the client, so that it is the client who closes. */
const KEEP_ALIVE_MS = 65_000
/** A peer that moves no byte for this long is gone. */
const IDLE_MS = 120_000
const HEADERS_MS = 30_000
/** Requests that may wait behind another one on their connection. */
const WAITING_MAX = 8
/** How often connections are looked through while the listener ends. */
const IDLE_CHECK_MS = 50

/** Listens. Throws `configuration` when the address cannot be had, `locked` when the port is taken. */
export async function listen(app: App, options: ListenOptions): Promise<Listener> {
  // tidy: cast - without options the adaptor makes a server of HTTP/1.1
  const server = createServer(inTurns(getRequestListener(app.fetch)))
  server.keepAliveTimeout = KEEP_ALIVE_MS
  server.headersTimeout = HEADERS_MS
  // A part may take as long as a slow line needs; silence ends it, not length.
  server.requestTimeout = 0
  server.timeout = IDLE_MS
  await open(server, options)
  return {
    url: describeUrl(server, options.host),
    async [Symbol.asyncDispose]() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      // A connection that has answered its last request is idle and open: nobody else closes it.
      const idle = setInterval(() => server.closeIdleConnections(), IDLE_CHECK_MS)
      const timer = setTimeout(() => server.closeAllConnections(), options.graceSeconds * 1000)
      await closed
      clearInterval(idle)
      clearTimeout(timer)
    },
  }
}

/**
 * One request of a connection at a time, though more may come before the first is answered (RFC 9112,
 * section 9.3.2): whoever sends hundreds and reads nothing would have all their answers in memory. Nobody
 * who means well sends many, and who does is cut off.
 */
function inTurns(handle: RequestListener): RequestListener {
  const turns = new WeakMap<Socket, (() => void)[]>()
  return (incoming, outgoing) => {
    const { socket } = incoming
    const begin = () => {
      outgoing.once('close', () => {
        const next = turns.get(socket)?.shift()
        if (next === undefined) turns.delete(socket)
        else if (!socket.destroyed) next()
      })
      handle(incoming, outgoing)
    }
    const waiting = turns.get(socket)
    if (socket.destroyed) return
    if (waiting === undefined) {
      turns.set(socket, [])
      begin()
    } else if (waiting.push(begin) > WAITING_MAX) socket.destroy()
  }
}

async function open(server: Server, { host, port }: ListenOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen({ host, port }, resolve)
  try {
    await promise
  } catch (cause) {
    const isTaken = cause instanceof Error && 'code' in cause && cause.code === 'EADDRINUSE'
    throw new ArtifactError(
      isTaken ? 'locked' : 'configuration',
      `Cannot listen on ${host}:${port}: ${isTaken ? 'the port is taken' : 'the address cannot be had'}`,
      { expected: 'another --port, or --port 0 for any free one', cause },
    )
  }
  server.off('error', reject)
}

function describeUrl(server: Server, host: string): string {
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  // The wildcard addresses are none that one can connect to.
  const name = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '[::1]' : host
  return `http://${name.includes(':') && !name.startsWith('[') ? `[${name}]` : name}:${port}`
}
