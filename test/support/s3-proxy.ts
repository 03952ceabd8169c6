/**
 * Weather in front of an S3 gateway: passes requests on as they are, signature and all, and changes
 * what comes back.
 */
import { once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  request as openRequest,
  type ServerResponse,
} from 'node:http'
import { request as openSecureRequest } from 'node:https'
import { pipeline } from 'node:stream/promises'
import { setTimeout as delay } from 'node:timers/promises'

export interface S3Weather {
  /** Sees every request as it comes. */
  onRequest?: (request: IncomingMessage) => void
  /** Another status; the body of the reply is left out then. */
  changeStatus?: (method: string, path: string, status: number) => number
  /** Cuts the connection after so many bytes of the reply's body. */
  cutAfter?: (method: string, path: string) => number | undefined
  /** What a reply's body gets of the way, each for itself. */
  bytesPerSecond?: (request: IncomingMessage) => number | undefined
  /** Sends a reply's body byte by byte, so many milliseconds apart. */
  dripMs?: (request: IncomingMessage) => number | undefined
  /** Inverts one bit of this byte of the reply's body. */
  flipAt?: (request: IncomingMessage) => number | undefined
}

export interface S3Proxy extends AsyncDisposable {
  endpoint: string
}

/** Opens a proxy on loopback in front of `endpoint`. */
export async function openS3Proxy(endpoint: string, weather: S3Weather): Promise<S3Proxy> {
  const server = createServer((request, response) => {
    pass(endpoint, weather, request, response).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('Cannot open the proxy')
  return {
    endpoint: `http://127.0.0.1:${address.port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await server[Symbol.asyncDispose]()
    },
  }
}

async function pass(
  endpoint: string,
  weather: S3Weather,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  weather.onRequest?.(request)
  const method = request.method ?? 'GET'
  const path = request.url ?? '/'
  const target = new URL(path, endpoint)
  const open = target.protocol === 'https:' ? openSecureRequest : openRequest
  // The host is signed: it stays the one that the sender used.
  const onward = open(target, { method, headers: request.headers, agent: false })
  request.pipe(onward)
  const [reply]: IncomingMessage[] = await once(onward, 'response')
  if (reply === undefined) throw new Error('The gateway gave no reply')
  const found = reply.statusCode ?? 500
  const bare = path.split('?')[0] ?? ''
  const status = weather.changeStatus?.(method, bare, found) ?? found
  if (status !== found) {
    reply.resume()
    response.writeHead(status).end()
    return
  }
  response.writeHead(status, reply.headers)
  const cut = weather.cutAfter?.(method, bare)
  const flip = weather.flipAt?.(request)
  const rate = weather.bytesPerSecond?.(request) ?? Number.POSITIVE_INFINITY
  const drip = weather.dripMs?.(request)
  // A generator that throws makes the pipeline hang up.
  await pipeline(
    reply,
    (chunks) => dripChunks(flipChunks(slowChunks(cutChunks(chunks, cut), rate), flip), drip),
    response,
  )
}

async function* slowChunks(
  chunks: AsyncIterable<Buffer>,
  bytesPerSecond: number,
): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    const seconds = chunk.length / bytesPerSecond
    if (seconds > 0) await delay(seconds * 1000)
    yield chunk
  }
}

async function* dripChunks(
  chunks: AsyncIterable<Buffer>,
  everyMs: number | undefined,
): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    if (everyMs === undefined) yield chunk
    else
      for (let at = 0; at < chunk.length; at++) {
        yield chunk.subarray(at, at + 1)
        await delay(everyMs)
      }
  }
}

async function* flipChunks(
  chunks: AsyncIterable<Buffer>,
  flip: number | undefined,
): AsyncGenerator<Buffer> {
  let sent = 0
  for await (const chunk of chunks) {
    const at = (flip ?? -1) - sent
    if (at >= 0 && at < chunk.length) chunk.writeUInt8(chunk.readUInt8(at) ^ 1, at)
    sent += chunk.length
    yield chunk
  }
}

async function* cutChunks(
  chunks: AsyncIterable<Buffer>,
  cut: number | undefined,
): AsyncGenerator<Buffer> {
  let sent = 0
  for await (const chunk of chunks) {
    const some = cut === undefined ? chunk : chunk.subarray(0, cut - sent)
    sent += some.length
    yield some
    if (cut !== undefined && sent >= cut) throw new Error('The connection is cut')
  }
}
