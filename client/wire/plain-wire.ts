/**
 * HTTP by Node's own client, for the questions of a command that asks a few and ends: it is part of
 * Node, where the general client takes longer to load than such a command to run.
 */
import type { Agent, ClientRequest } from 'node:http'
import { flattenHeaders, type Patience, type Wire, type WireReply } from './wire.ts'

/** A wire for requests without a body, or with one that is a text. It knows no proxy. */
export function openPlainWire(patience: Patience): Wire {
  const agents = new Map<string, Agent>()
  return {
    async send(request) {
      request.signal.throwIfAborted()
      const { protocol } = request.url
      // Not imported: that would load all that the module offers, among it another HTTP client.
      const client = process.getBuiltinModule(protocol === 'https:' ? 'node:https' : 'node:http')
      const agent = agents.get(protocol) ?? new client.Agent({ keepAlive: true })
      agents.set(protocol, agent)
      const { method, url, headers, signal, body } = request
      const sent = client.request(url, { method, headers, agent, signal })
      const reply = awaitReply(sent, patience)
      sent.end(body)
      return reply
    },
    async close() {
      for (const agent of agents.values()) agent.destroy()
    },
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
  sent.once('close', () => clearTimeout(timer))
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
  return promise
}
