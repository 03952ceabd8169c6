/**
 * A proxy that stands between a client and the real server and misbehaves on purpose: it cuts,
 * stalls, corrupts, loses answers, or answers itself. What it is not told to spoil goes through.
 */
import { once } from 'node:events'
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { Transform } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'

export type Fault =
  /** Answers itself; the server hears nothing. */
  | { kind: 'answer'; status: number; body?: string | Uint8Array; headers?: Record<string, string> }
  /** Takes this many bytes of the request, then cuts the connection. */
  | { kind: 'cut-request'; afterBytes: number }
  /** Lets the request through, and cuts the connection instead of answering. */
  | { kind: 'lose-reply' }
  /** Passes on this many bytes of the answer, then cuts the connection. */
  | { kind: 'cut-reply'; afterBytes: number }
  /** Passes on this many bytes of the answer, then nothing more. */
  | { kind: 'stall-reply'; afterBytes: number }
  /** Puts other text of the same length into the answer that comes from the server. */
  | { kind: 'replace-reply'; text: string; by: string }
  /** Passes the answer on byte by byte, so many milliseconds apart. */
  | { kind: 'drip-reply'; everyMs: number }
  /** Takes the request and never answers. */
  | { kind: 'stall-request' }
  /** Lets the request through when the promise resolves. */
  | { kind: 'wait'; until: Promise<void> }
  /** Inverts one bit of the body that goes to the server. */
  | { kind: 'flip-request'; atByte: number }
  /** Inverts one bit of the body that comes from the server. */
  | { kind: 'flip-reply'; atByte: number }

export interface SeenRequest {
  method: string
  /** With query. */
  path: string
  headers: IncomingMessage['headers']
  /** How often this method and path (without query) came, this time included. */
  count: number
}

export interface FaultProxy extends AsyncDisposable {
  readonly url: string
  /** All requests, in order. */
  readonly seen: SeenRequest[]
  /** Decides what is done to each request. */
  fault: (request: SeenRequest) => Fault | undefined
}

export async function startFaultProxy(serverUrl: string): Promise<FaultProxy> {
  const seen: SeenRequest[] = []
  const counts = new Map<string, number>()
  const proxy = createServer((incoming, outgoing) => {
    const { method = '', url: path = '', headers } = incoming
    const key = `${method} ${path.split('?')[0]}`
    const count = (counts.get(key) ?? 0) + 1
    counts.set(key, count)
    const one: SeenRequest = { method, path, headers, count }
    seen.push(one)
    incoming.on('error', () => undefined)
    outgoing.on('error', () => undefined)
    spoil(self.fault(one), serverUrl, incoming, outgoing)
  })
  // As above: nothing is cut but what is told to be.
  proxy.keepAliveTimeout = 0
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const address = proxy.address()
  if (address === null || typeof address === 'string') throw new Error('The proxy has no port')
  const self: FaultProxy = {
    url: `http://127.0.0.1:${address.port}`,
    seen,
    fault: () => undefined,
    async [Symbol.asyncDispose]() {
      proxy.close()
      proxy.closeAllConnections()
    },
  }
  return self
}

function spoil(
  fault: Fault | undefined,
  serverUrl: string,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): void {
  switch (fault?.kind) {
    case 'answer':
      incoming.resume()
      incoming.on('end', () =>
        outgoing.writeHead(fault.status, fault.headers).end(fault.body ?? ''),
      )
      return
    case 'cut-request': {
      let taken = 0
      incoming.on('data', (chunk: Buffer) => {
        taken += chunk.length
        if (taken >= fault.afterBytes) incoming.socket.destroy()
      })
      return
    }
    case 'stall-request':
      incoming.resume()
      return
    case 'wait':
      void fault.until.then(() => pass(undefined, serverUrl, incoming, outgoing))
      return
    default:
      pass(fault, serverUrl, incoming, outgoing)
  }
}

/** The other side may close a connection that is used again at that very moment: that would be a fault nobody asked for. */
const FRESH = new Agent({ keepAlive: false })

function pass(
  fault: Fault | undefined,
  serverUrl: string,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): void {
  const onward = request(new URL(incoming.url ?? '/', serverUrl), {
    method: incoming.method,
    headers: incoming.headers,
    agent: FRESH,
  })
  onward.on('error', () => incoming.socket.destroy())
  incoming.on('aborted', () => onward.destroy())
  onward.on('response', (reply) => {
    if (fault?.kind === 'lose-reply') {
      reply.resume()
      incoming.socket.destroy()
      return
    }
    reply.on('error', () => undefined)
    outgoing.writeHead(reply.statusCode ?? 500, reply.headers)
    if (fault?.kind === 'replace-reply') void replace(reply, outgoing, fault)
    else if (fault?.kind === 'flip-reply') reply.pipe(flipAt(fault.atByte)).pipe(outgoing)
    else if (fault?.kind === 'cut-reply' || fault?.kind === 'stall-reply')
      passSome(reply, outgoing, fault)
    else if (fault?.kind === 'drip-reply') void drip(reply, outgoing, fault.everyMs)
    else reply.pipe(outgoing)
  })
  if (fault?.kind === 'flip-request') incoming.pipe(flipAt(fault.atByte)).pipe(onward)
  else incoming.pipe(onward)
}

function passSome(
  reply: IncomingMessage,
  outgoing: ServerResponse,
  fault: { kind: 'cut-reply' | 'stall-reply'; afterBytes: number },
): void {
  let left = fault.afterBytes
  reply.on('data', (chunk: Buffer) => {
    const piece = chunk.subarray(0, left)
    left -= piece.length
    if (piece.length > 0)
      outgoing.write(piece, () => {
        if (left === 0 && fault.kind === 'cut-reply') outgoing.socket?.destroy()
      })
    else if (fault.kind === 'cut-reply') outgoing.socket?.destroy()
  })
  if (left === 0 && fault.kind === 'stall-reply') outgoing.flushHeaders()
}

async function replace(
  reply: IncomingMessage,
  outgoing: ServerResponse,
  { text, by }: { text: string; by: string },
): Promise<void> {
  const whole = Buffer.concat(await reply.toArray()).toString()
  outgoing.end(whole.replaceAll(text, by))
}

async function drip(
  reply: IncomingMessage,
  outgoing: ServerResponse,
  everyMs: number,
): Promise<void> {
  for await (const chunk of reply)
    for (let at = 0; at < chunk.length; at++) {
      if (outgoing.destroyed) return
      outgoing.write(chunk.subarray(at, at + 1))
      await delay(everyMs)
    }
  outgoing.end()
}

function flipAt(atByte: number): Transform {
  let passed = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const at = atByte - passed
      passed += chunk.length
      if (at < 0 || at >= chunk.length) return done(null, chunk)
      const spoiled = Buffer.from(chunk)
      spoiled[at] = (spoiled[at] ?? 0) ^ 1
      done(null, spoiled)
    },
  })
}
