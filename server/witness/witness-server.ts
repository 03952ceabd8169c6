/** The two doors of a witness: what logs submit, and what anybody may look up. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Logger } from '../logger.ts'
import { addCheckpoint, type WitnessParts } from './add-checkpoint.ts'

/** A request is a proof and a note; this leaves room for many signatures. */
const BODY_BYTES_MAX = 65_536
const REQUEST_MS = 30_000
const TEXT = 'text/plain; charset=utf-8'

export interface WitnessListenOptions {
  host: string
  /** 0: any free one. */
  port: number
  log: Logger
}

export interface RunningWitness extends AsyncDisposable {
  readonly url: string
}

/**
 * Listens: `POST /add-checkpoint`, and `GET /<SHA-256 of the origin>/checkpoint` for the newest head
 * that was cosigned. Throws `configuration` when the address cannot be had.
 */
export async function listenAsWitness(
  parts: WitnessParts,
  { host, port, log }: WitnessListenOptions,
): Promise<RunningWitness> {
  const server = createServer((request, response) => {
    answer(parts, request, response, log).catch((error: unknown) => {
      log.error({ err: error }, 'the witness failed')
      send(response, 500, 'the witness failed\n')
    })
  })
  server.requestTimeout = REQUEST_MS
  server.headersTimeout = REQUEST_MS
  try {
    server.listen({ host, port })
    await once(server, 'listening')
  } catch (cause) {
    throw new ArtifactError('configuration', `Cannot listen on ${host}:${port}`, { cause })
  }
  const address = server.address()
  const bound = typeof address === 'object' && address !== null ? address.port : port
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    async [Symbol.asyncDispose]() {
      server.closeIdleConnections()
      await server[Symbol.asyncDispose]()
    },
  }
}

async function answer(
  parts: WitnessParts,
  request: IncomingMessage,
  response: ServerResponse,
  log: Logger,
): Promise<void> {
  const path = (request.url ?? '').split('?', 1)[0] ?? ''
  if (path === '/add-checkpoint') {
    if (request.method !== 'POST')
      return send(response, 405, 'expected POST\n', TEXT, { allow: 'POST' })
    const body = await readBody(request)
    if (body === undefined)
      return send(response, 413, 'the request is too large\n', TEXT, { connection: 'close' })
    const reply = await addCheckpoint(parts, body)
    log.info({ status: reply.status, said: reply.status === 200 ? undefined : reply.body }, 'asked')
    return send(response, reply.status, reply.body, reply.contentType)
  }
  const note = findNote(parts, path)
  if (note === undefined) return send(response, 404, 'there is no such thing here\n')
  send(response, 200, note, TEXT, { 'cache-control': 'no-cache' })
}

/** The newest cosigned head by the path that monitors ask for. */
function findNote({ logs, state }: WitnessParts, path: string): string | undefined {
  const [, digest] = /^\/([0-9a-f]{64})\/checkpoint$/.exec(path) ?? []
  const key = logs.find(({ name }) => createHash('sha256').update(name).digest('hex') === digest)
  return key === undefined ? undefined : state.findHead(key.name)?.note
}

async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) throw new TypeError('A request without encoding gives bytes')
    sizeBytes += chunk.length
    if (sizeBytes > BODY_BYTES_MAX) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function send(
  response: ServerResponse,
  status: number,
  body: string,
  contentType: string = TEXT,
  headers: Record<string, string> = {},
): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(body),
    'x-content-type-options': 'nosniff',
    ...headers,
  })
  response.end(body)
}
