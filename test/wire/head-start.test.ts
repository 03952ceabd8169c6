/** A connection that is begun before it is needed, over real sockets. */
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { connect as connectPlainly } from 'node:net'
import { describe, expect, it } from 'vitest'
import { beginConnection, type HeadStart } from '../../client/wire/head-start.ts'
import { openPlainWire } from '../../client/wire/plain-wire.ts'

const PATIENT = { connectMs: 10_000, replyMs: 30_000, stallMs: 30_000 }

async function startServer(port = 0) {
  const server: Server = createServer((_request, response) => response.end('here'))
  let sockets = 0
  server.on('connection', () => sockets++)
  const connected = once(server, 'connection')
  await once(server.listen(port, '127.0.0.1'), 'listening')
  const address = server.address()
  const found = typeof address === 'object' && address !== null ? address.port : 0
  return {
    port: found,
    url: new URL(`http://127.0.0.1:${found}/x`),
    connected,
    sockets: () => sockets,
    [Symbol.dispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

async function ask(url: URL, headStart: HeadStart, times = 1): Promise<number[]> {
  const wire = openPlainWire(PATIENT, headStart)
  const told: number[] = []
  const { signal } = new AbortController()
  try {
    for (let count = 0; count < times; count++) {
      const onConnected = (milliseconds: number) => void told.push(milliseconds)
      const request = { method: 'GET', url, headers: {}, signal, onConnected }
      const chunks: Uint8Array[] = []
      for await (const chunk of (await wire.send(request)).body) chunks.push(chunk)
      expect(Buffer.concat(chunks).toString()).toBe('here')
    }
  } finally {
    await wire.close()
  }
  return told
}

describe('beginConnection()', () => {
  it('is connected before anybody asks, and all that is asked goes over it', async () => {
    using server = await startServer()
    using headStart = beginConnection(server.url)
    await server.connected
    await ask(server.url, headStart, 3)
    expect(server.sockets()).toBe(1)
  })

  it('serves who asks while it is connecting', async () => {
    using server = await startServer()
    using headStart = beginConnection(server.url)
    await ask(server.url, headStart)
    expect(server.sockets()).toBe(1)
  })

  it('tells how long it took from its own beginning', async () => {
    using server = await startServer()
    using headStart = beginConnection(server.url)
    const took = await headStart.connectedMs
    expect(await ask(server.url, headStart, 2)).toEqual([took])
  })

  it('is for one host and port alone', async () => {
    using server = await startServer()
    using other = await startServer()
    using headStart = beginConnection(other.url)
    await other.connected
    await ask(server.url, headStart)
    expect([server.sockets(), other.sockets()]).toEqual([1, 1])
    expect(headStart.take({ host: 'localhost', port: other.port })).toBeUndefined()
    expect(headStart.take({ host: '127.0.0.1', port: other.port })).toBeDefined()
    expect(headStart.take({ host: '127.0.0.1', port: other.port })).toBeUndefined()
  })

  it('leaves the connecting to the request where it failed', async () => {
    const gone = await startServer()
    gone[Symbol.dispose]()
    using headStart = beginConnection(gone.url)
    // Refused by the time that another one has been.
    await once(connectPlainly(gone.port, '127.0.0.1'), 'error')
    using server = await startServer(gone.port)
    await ask(server.url, headStart)
    expect(server.sockets()).toBe(1)
  })

  it('lets go of the connection that nobody took', async () => {
    using server = await startServer()
    const headStart = beginConnection(server.url)
    const [socket] = await server.connected
    const ended = once(socket.resume(), 'close')
    headStart[Symbol.dispose]()
    await ended
    await ask(server.url, headStart)
    expect(server.sockets()).toBe(2)
  })
})
