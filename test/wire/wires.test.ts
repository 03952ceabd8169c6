/** What every HTTP client of a connection does alike, over real sockets. */
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { describe, expect, it } from 'vitest'
import { openGeneralWire } from '../../client/wire/general-wire.ts'
import { openPlainWire } from '../../client/wire/plain-wire.ts'
import type { Patience, Wire, WireReply } from '../../client/wire/wire.ts'

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
