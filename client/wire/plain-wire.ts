/**
 * HTTP by Node's own client: it is part of Node, where the general client takes longer to load than a
 * command that asks a few questions to run, and a twentieth of the CPU of a large upload more.
 */
import type { Agent, ClientRequest } from 'node:http'
import type { Duplex } from 'node:stream'
import type { HeadStart } from './head-start.ts'
import { flattenHeaders, type Patience, type Wire, type WireReply } from './wire.ts'

/** A wire for everything but proxies. The first request to its address goes over the head start, if there is one. */
export function openPlainWire(patience: Patience, headStart?: HeadStart): Wire {
  const agents = new Map<string, Agent>()
  const ahead = new WeakSet<Duplex>()
  return {
    async send(request) {
      request.signal.throwIfAborted()
      const { protocol } = request.url
      // Not imported: that would load all that the module offers, among it another HTTP client.
      const client = process.getBuiltinModule(protocol === 'https:' ? 'node:https' : 'node:http')
      let agent = agents.get(protocol)
      if (agent === undefined) {
        agent = new client.Agent({ keepAlive: true })
        if (headStart !== undefined) takeAhead(agent, protocol, headStart, ahead)
        agents.set(protocol, agent)
      }
      const { method, url, headers, signal, body } = request
      const sent = client.request(url, { method, headers, agent })
      destroyOnAbort(sent, signal)
      if (request.onConnected !== undefined)
        timeConnecting(sent, request.onConnected, (socket) =>
          ahead.delete(socket) ? headStart : undefined,
        )
      const { reply, moved } = awaitReply(sent, patience)
      if (body === undefined || typeof body === 'string') sent.end(body)
      else void pump(sent, body, moved)
      return reply
    },
    async close() {
      for (const agent of agents.values()) agent.destroy()
    },
  }
}

/** Lets an agent take the socket of a head start instead of making its first one. `ahead` gets what it made of it. */
function takeAhead(
  agent: Agent,
  protocol: string,
  headStart: HeadStart,
  ahead: WeakSet<Duplex>,
): void {
  const create = agent.createConnection.bind(agent)
  agent.createConnection = (options, callback) => {
    const begun = headStart.take(options)
    if (begun === undefined) return create(options, callback)
    const socket =
      protocol === 'https:' ? create(Object.assign({ socket: begun }, options), callback) : begun
    if (socket != null) ahead.add(socket)
    return socket
  }
}

/** Node's own way to do so loads more, and is slower. */
function destroyOnAbort(sent: ClientRequest, signal: AbortSignal): void {
  const destroy = () => void sent.destroy(new Error('aborted', { cause: signal.reason }))
  signal.addEventListener('abort', destroy, { once: true })
  sent.once('close', () => signal.removeEventListener('abort', destroy))
}

/** Of TCP alone: what comes after it is work of the other side, too. */
function timeConnecting(
  sent: ClientRequest,
  tell: (milliseconds: number) => void,
  findHeadStart: (socket: Duplex) => HeadStart | undefined,
): void {
  const began = process.hrtime.bigint()
  sent.once('socket', (socket) => {
    const headStart = findHeadStart(socket)
    if (headStart !== undefined) return void headStart.connectedMs.then(tell)
    if (!socket.connecting) return
    socket.once('connect', () => tell(Number(process.hrtime.bigint() - began) / 1_000_000))
  })
}

/** Sends a body as it is made, until the answer comes or the connection ends. */
async function pump(
  sent: ClientRequest,
  body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  moved: () => void,
): Promise<void> {
  let isOver = false
  let wake: (() => void) | undefined
  const end = () => {
    isOver = true
    wake?.()
  }
  // An answer before the end is a refusal: the rest would be for nobody.
  sent.once('response', (reply) => {
    if (!sent.writableEnded) reply.once('close', () => sent.destroy())
    end()
  })
  sent.once('close', end)
  sent.on('drain', () => wake?.())
  try {
    for await (const chunk of body) {
      if (isOver) return
      if (!sent.write(chunk))
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      if (isOver) return
      moved()
    }
    sent.end()
  } catch (error) {
    sent.destroy(error instanceof Error ? error : new Error(String(error)))
  }
}

function awaitReply(sent: ClientRequest, { connectMs, replyMs, stallMs }: Patience) {
  const { promise, resolve, reject } = Promise.withResolvers<WireReply>()
  const expire = (code: string) => () => void sent.destroy(Object.assign(new Error(code), { code }))
  let timer = setTimeout(expire('UND_ERR_CONNECT_TIMEOUT'), connectMs)
  const connected = () => {
    clearTimeout(timer)
    timer = setTimeout(expire('UND_ERR_HEADERS_TIMEOUT'), replyMs)
  }
  sent.once('socket', (socket) => {
    if (!socket.connecting) connected()
    else socket.once('encrypted' in socket ? 'secureConnect' : 'connect', connected)
  })
  sent.on('error', reject)
  sent.once('close', () => {
    clearTimeout(timer)
    // Not every end is told as an error: one that wants to speak another protocol is just closed.
    reject(Object.assign(new Error('the connection was cut'), { code: 'UND_ERR_SOCKET' }))
  })
  sent.once('response', (reply) => {
    clearTimeout(timer)
    reply.setTimeout(stallMs, () => {
      const code = 'UND_ERR_BODY_TIMEOUT'
      reply.destroy(Object.assign(new Error(code), { code }))
    })
    // Told where the body is read; nobody may read it yet, or any more.
    reply.on('error', () => undefined)
    resolve({
      status: reply.statusCode ?? 0,
      headers: flattenHeaders(reply.headersDistinct),
      body: reply,
      drop: () => void reply.destroy(),
    })
  })
  // No answer is due while the body is on its way: the time for it begins again.
  return { reply: promise, moved: () => void timer.refresh() }
}
