/** What every HTTP client of a connection does alike, over real sockets. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { describe, expect, it, vi } from 'vitest'
import { sha256Of } from '../../client/verify/digest.ts'
import { openGeneralWire } from '../../client/wire/general-wire.ts'
import { openPlainWire } from '../../client/wire/plain-wire.ts'
import type { Patience, Wire, WireReply } from '../../client/wire/wire.ts'
import { makeBytes } from '../support/content.ts'

const PATIENT: Patience = { connectMs: 10_000, replyMs: 30_000, stallMs: 30_000 }
const HASTY: Patience = { connectMs: 10_000, replyMs: 50, stallMs: 50 }

const wires: [name: string, open: (patience: Patience) => Wire][] = [
  ['plain', openPlainWire],
  ['general', (patience) => openGeneralWire(patience, undefined)],
]

async function startServer(answer: RequestListener) {
  const server = createServer(answer)
  let sockets = 0
  server.on('connection', () => sockets++)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    url: new URL(`http://127.0.0.1:${port}/x?y=%2F`),
    sockets: () => sockets,
    [Symbol.dispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

async function readAll({ body }: WireReply): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

describe.each(wires)('the %s wire', (_, open) => {
  const using = (patience: Patience = PATIENT) => {
    const wire = open(patience)
    const controller = new AbortController()
    return {
      get: (url: URL) => wire.send({ method: 'GET', url, headers: {}, signal: controller.signal }),
      post: (url: URL, body: string) =>
        wire.send({
          method: 'POST',
          url,
          headers: { 'x-a': 'b' },
          body,
          signal: controller.signal,
        }),
      put: (url: URL, length: number, body: AsyncIterable<Uint8Array>) => {
        const headers = { 'content-length': String(length) }
        return wire.send({ method: 'PUT', url, headers, body, signal: controller.signal })
      },
      abort: () => controller.abort(new Error('enough')),
      [Symbol.asyncDispose]: () => wire.close(),
    }
  }

  it('sends a text with its length, and answers with status, headers and body', async () => {
    using server = await startServer(async (request, response) => {
      const { method, url, headers } = request
      let text = ''
      for await (const chunk of request) text += chunk
      response.writeHead(201, [
        ...['x-twice', 'first', 'x-twice', 'last'],
        ...['x-seen', `${method} ${url} ${headers['content-length']} ${headers['x-a']}`],
      ])
      response.end(`<${text}>`)
    })
    await using wire = using()
    const reply = await wire.post(server.url, 'größe')
    expect(reply.status).toBe(201)
    expect(reply.headers).toMatchObject({ 'x-twice': 'last', 'x-seen': 'POST /x?y=%2F 7 b' })
    expect(await readAll(reply)).toBe('<größe>')
  })

  it('sends a body as it is made, however long the answer takes to begin after that', async () => {
    using server = await startServer(async (request, response) => {
      let bytes = 0
      for await (const chunk of request) bytes += chunk.length
      response.end(String(bytes))
    })
    await using wire = using()
    async function* body() {
      for (let count = 0; count < 20; count++) yield Buffer.alloc(256 * 1024, count)
    }
    const length = 20 * 256 * 1024
    for (let count = 0; count < 2; count++)
      expect(await readAll(await wire.put(server.url, length, body()))).toBe(String(length))
    expect(server.sockets()).toBeLessThan(3)
  })

  it('sends memory that threads share as it is', async () => {
    using server = await startServer(async (request, response) => {
      const hash = createHash('sha256')
      for await (const chunk of request) hash.update(chunk)
      response.end(hash.digest('hex'))
    })
    await using wire = using()
    const bytes = Buffer.from(new SharedArrayBuffer(8 * 1024 ** 2))
    bytes.set(makeBytes(bytes.length, 'shared'))
    async function* body() {
      for (let offset = 0; offset < bytes.length; offset += 256 * 1024)
        yield bytes.subarray(offset, offset + 256 * 1024)
    }
    expect(await readAll(await wire.put(server.url, bytes.length, body()))).toBe(sha256Of(bytes))
  })

  it('hears a refusal before the body is at its end, and makes no more of it', async () => {
    using server = await startServer((_request, response) => {
      response.writeHead(403, { connection: 'close' }).end('no')
    })
    await using wire = using()
    const ended = Promise.withResolvers<void>()
    async function* body() {
      try {
        for (;;) yield Buffer.alloc(64 * 1024)
      } finally {
        ended.resolve()
      }
    }
    const sent = wire.put(server.url, 1024 ** 4, body())
    const status = await sent.then(
      (reply) => {
        reply.drop()
        return reply.status
      },
      // The cut can be quicker than the answer.
      () => 403,
    )
    expect(status).toBe(403)
    await ended.promise
  })

  it('fails with what the body failed with', async () => {
    using server = await startServer((request) => void request.resume())
    await using wire = using()
    async function* body() {
      yield Buffer.alloc(1024)
      throw new Error('the file changed')
    }
    await expect(wire.put(server.url, 2048, body())).rejects.toThrow('the file changed')
  })

  it('asks again over the same socket', async () => {
    using server = await startServer((_request, response) => response.end('one'))
    await using wire = using()
    for (let count = 0; count < 3; count++)
      expect(await readAll(await wire.get(server.url))).toBe('one')
    // The general one may find its first socket not free yet.
    expect(server.sockets()).toBeLessThan(3)
  })

  it('follows no redirect', async () => {
    using server = await startServer((_request, response) =>
      response.writeHead(302, { location: '/elsewhere' }).end(),
    )
    await using wire = using()
    const reply = await wire.get(server.url)
    reply.drop()
    expect(reply).toMatchObject({ status: 302, headers: { location: '/elsewhere' } })
  })

  it('says that nothing listens', async () => {
    const server = await startServer(() => undefined)
    server[Symbol.dispose]()
    await using wire = using()
    await expect(wire.get(server.url)).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  })

  it('gives up an answer that does not begin', async () => {
    using server = await startServer(() => undefined)
    await using wire = using(HASTY)
    await expect(wire.get(server.url)).rejects.toMatchObject({ code: 'UND_ERR_HEADERS_TIMEOUT' })
  })

  it('gives up an answer that stops coming', async () => {
    using server = await startServer((_request, response) => void response.write('begun'))
    await using wire = using({ ...PATIENT, stallMs: 50 })
    const reply = await wire.get(server.url)
    await expect(readAll(reply)).rejects.toMatchObject({ code: 'UND_ERR_BODY_TIMEOUT' })
  })

  it('fails for an answer that is cut short', async () => {
    using server = await startServer((_request, response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('begun', () => response.destroy())
    })
    await using wire = using()
    const reply = await wire.get(server.url)
    await expect(readAll(reply)).rejects.toThrow()
  })

  it('fails for an answer that would rather speak another protocol', async () => {
    using server = await startServer(({ socket }) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n')
    })
    await using wire = using()
    await expect(wire.get(server.url)).rejects.toMatchObject({ code: 'UND_ERR_SOCKET' })
  })

  it('ends with its signal, before the answer and within it', async () => {
    const asked = Promise.withResolvers<void>()
    using silent = await startServer(() => asked.resolve())
    await using first = using()
    const waiting = first.get(silent.url)
    await asked.promise
    first.abort()
    await expect(waiting).rejects.toThrow()
    await expect(first.get(silent.url)).rejects.toThrow()
    using slow = await startServer((_request, response) => void response.write('begun'))
    await using second = using()
    const reply = await second.get(slow.url)
    second.abort()
    await expect(readAll(reply)).rejects.toThrow()
  })

  it('lets go of an answer that nobody wants', async () => {
    const left = Promise.withResolvers<void>()
    using server = await startServer((_request, response) => {
      response.on('close', left.resolve)
      response.write('begun')
    })
    await using wire = using()
    const reply = await wire.get(server.url)
    reply.drop()
    await left.promise
    await expect(readAll(reply)).rejects.toThrow()
  })
})

describe('the plain wire', () => {
  it('tells how long a connection took to make, whenever the answer comes', async () => {
    const { promise, resolve } = Promise.withResolvers<number>()
    using server = await startServer(async (_, response) => {
      await promise
      response.end('late')
    })
    const wire = openPlainWire(PATIENT)
    const { signal } = new AbortController()
    const told: number[] = []
    const onConnected = (milliseconds: number) => {
      told.push(milliseconds)
      resolve(milliseconds)
    }
    const request = { method: 'GET', url: server.url, headers: {}, signal, onConnected }
    // The second goes over the same connection.
    for (let count = 0; count < 2; count++)
      expect(await readAll(await wire.send(request))).toBe('late')
    expect(told).toEqual([expect.any(Number)])
    await wire.close()
  })

  it('waits for an answer from the last byte of a body on', async () => {
    using server = await startServer(async (request, response) => {
      for await (const _ of request);
      response.end('all of it')
    })
    const wire = openPlainWire({ ...PATIENT, replyMs: 1000 })
    const { signal } = new AbortController()
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    async function* body() {
      for (let count = 0; count < 10; count++) {
        vi.advanceTimersByTime(900)
        yield Buffer.alloc(1024 ** 2)
      }
    }
    try {
      const headers = { 'content-length': String(10 * 1024 ** 2) }
      const { url } = server
      const reply = await wire.send({ method: 'PUT', url, headers, body: body(), signal })
      expect(await readAll(reply)).toBe('all of it')
    } finally {
      vi.useRealTimers()
      await wire.close()
    }
  })
})
