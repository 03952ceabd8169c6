/** A balancer in front of several servers, as simple as they come: one request to each in turn. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'

export interface Balancer extends AsyncDisposable {
  readonly url: string
  /** Servers that get requests; set it anew to take one out. */
  targets: readonly string[]
}

export async function openBalancer(targets: readonly string[]): Promise<Balancer> {
  let turn = 0
  const server = createServer((incoming, outgoing) => {
    const target = balancer.targets[turn++ % balancer.targets.length]
    if (target === undefined) outgoing.writeHead(503).end()
    else pass(target, incoming, outgoing)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('Cannot open a balancer')
  const balancer: Balancer = {
    url: `http://127.0.0.1:${address.port}`,
    targets,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await server[Symbol.asyncDispose]()
    },
  }
  return balancer
}

function pass(target: string, incoming: IncomingMessage, outgoing: ServerResponse): void {
  const { method, url = '/', headers } = incoming
  const onward = request(new URL(url, target), { method, headers, agent: false }, (reply) => {
    outgoing.writeHead(reply.statusCode ?? 502, reply.headers)
    reply.on('error', () => outgoing.destroy())
    reply.pipe(outgoing)
  })
  onward.on('error', () => {
    if (outgoing.headersSent) outgoing.destroy()
    else outgoing.writeHead(502).end()
  })
  incoming.pipe(onward)
}
