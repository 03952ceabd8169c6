import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { call, connect, readChecksums, upload, watch } from '../../client/client.ts'
import { retryDelayMs } from '../../client/transfer/retry.ts'
import { startFaultProxy } from '../support/fault-proxy.ts'
import { startTestServer } from '../support/server.ts'

const opened: AsyncDisposable[] = []

function later<T extends AsyncDisposable>(thing: T): T {
  opened.push(thing)
  return thing
}
afterEach(async () => {
  for (const thing of opened.splice(0).reverse()) await thing[Symbol.asyncDispose]()
})

/** A server that answers as it is told, one function for each request in turn; the last one stays. */
async function answering(...answers: ((reply: ServerResponse) => void)[]) {
  let come = 0
  const server = createServer((_, reply) => {
    answers[Math.min(come++, answers.length - 1)]?.(reply)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  later({
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
    },
  })
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  const connection = later(
    connect({ url: `http://127.0.0.1:${port}/`, timing: { retryFirstMs: 1, retryMaxMs: 5 } }),
  )
  return { connection, count: () => come }
}

const answer =
  (status: number, body: string, headers: Record<string, string> = {}) =>
  (reply: ServerResponse) =>
    void reply.writeHead(status, headers).end(body)
const empty = answer(200, '{"items":[],"next":null}')

describe('connect()', () => {
  it.each(['', 'ftp://x', 'http://user:secret@host', 'http://host/?q', 'nonsense'])(
    'refuses the address %j without repeating it',
    (url) => {
      expect(() => connect({ url })).toThrow(expect.objectContaining({ code: 'configuration' }))
      try {
        connect({ url })
      } catch (error) {
        expect(String(error)).not.toContain('secret')
      }
    },
  )
})

describe('call()', () => {
  it('tries again what may pass, and gives up in the end', async () => {
    const { connection, count } = await answering(answer(503, ''), answer(502, 'x'), empty)
    expect(await call(connection, 'listTasks', {})).toEqual({ items: [], next: null })
    expect(count()).toBe(3)
    const dead = await answering(answer(503, ''))
    await expect(call(dead.connection, 'listTasks', {})).rejects.toMatchObject({
      code: 'overloaded',
    })
    expect(dead.count()).toBe(5)
  })

  it('does not repeat the one call that does something new every time', async () => {
    const { connection, count } = await answering((reply) => reply.destroy())
    const body = { name: 'x', scopes: ['admin'], ttlSeconds: null }
    await expect(call(connection, 'createToken', { body })).rejects.toMatchObject({
      code: 'unreachable',
    })
    expect(count()).toBe(1)
  })

  it.each([
    ['no JSON', answer(200, 'hello')],
    ['other JSON', answer(200, '{"items":7}')],
    ['a status that was not promised', answer(204, '')],
    ['a redirect', answer(302, '', { location: 'http://127.0.0.1:1/' })],
    ['a page of another program', answer(404, '<html>')],
  ])('refuses an answer that is %s', async (_, one) => {
    const { connection, count } = await answering(one)
    await expect(call(connection, 'listTasks', {})).rejects.toMatchObject({ code: 'bad_reply' })
    expect(count()).toBe(1)
  })

  it('refuses an endless answer', async () => {
    const { connection } = await answering((reply) => {
      const block = Buffer.alloc(4 * 1024 ** 2, ' ')
      const pour = (): void => {
        if (!reply.destroyed) reply.write(block, pour)
      }
      pour()
    })
    await expect(call(connection, 'listTasks', {})).rejects.toMatchObject({
      code: 'bad_reply',
      message: expect.stringContaining('too large'),
    })
  })

  it.each([200, 400])(
    'refuses an answer %i with more faults than can be listed',
    async (status) => {
      const many = JSON.stringify(Array.from({ length: 300_000 }, () => 1))
      const text = `{"items":${many},"errors":${many},"next":null}`
      const { connection } = await answering(answer(status, text))
      await expect(call(connection, 'listTasks', {})).rejects.toMatchObject({ code: 'bad_reply' })
    },
  )

  it('sends no parameter that would make another path', async () => {
    const { connection, count } = await answering(empty)
    await expect(
      call(connection, 'listRuns', { params: { task: '../tokens' } }),
    ).rejects.toMatchObject({ code: 'usage' })
    expect(count()).toBe(0)
  })

  it('ends at once when its signal fires', async () => {
    const controller = new AbortController()
    const { connection } = await answering(() => controller.abort())
    await expect(
      call(connection, 'listTasks', {}, { signal: controller.signal }),
    ).rejects.toMatchObject({ code: 'interrupted' })
  })

  it('says in words that nothing listens', async () => {
    const connection = later(
      connect({ url: 'http://127.0.0.1:1', timing: { retryFirstMs: 1, retryMaxMs: 1 } }),
    )
    await expect(call(connection, 'listTasks', {})).rejects.toMatchObject({
      code: 'unreachable',
      message: 'Cannot reach http://127.0.0.1:1: nothing listens there',
    })
  })
})

describe('retryDelayMs()', () => {
  const timing = { retryFirstMs: 500, retryMaxMs: 30_000 }
  it('stays below a bound that doubles', () => {
    expect(
      [1, 2, 3, 7, 8, 50].map((retry) => retryDelayMs(timing, retry, undefined, () => 1)),
    ).toEqual([500, 1000, 2000, 30_000, 30_000, 30_000])
    expect(retryDelayMs(timing, 5, undefined, () => 0)).toBe(0)
  })
  it('waits as long as the server asks, within reason', () => {
    expect(retryDelayMs(timing, 1, { retryAfterSeconds: 7 }, () => 0)).toBe(7000)
    expect(retryDelayMs(timing, 1, { retryAfterSeconds: 7000 }, () => 0)).toBe(30_000)
  })
})

describe('watch()', () => {
  it.each(['data: endless\n', 'data\n', 'data: x'])(
    'refuses an event of %j without an end',
    async (text) => {
      const pour = (reply: ServerResponse) => {
        reply.writeHead(200, { 'content-type': 'text/event-stream' })
        const more = () => {
          while (!reply.destroyed && reply.write(text.repeat(10_000)));
        }
        reply.on('drain', more)
        more()
      }
      const { connection } = await answering(pour)
      const read = async () => {
        for await (const _ of watch(connection, {})) throw new Error('There was an event')
      }
      await expect(read()).rejects.toMatchObject({ code: 'bad_reply' })
    },
  )

  it('sees an upload to its seal, over a connection that breaks', async () => {
    const server = later(await startTestServer())
    const proxy = later(await startFaultProxy(server.url))
    const connection = later(
      connect({
        url: proxy.url,
        token: server.token,
        timing: { retryFirstMs: 1, retryMaxMs: 5 },
      }),
    )
    let streams = 0
    proxy.fault = ({ path }) =>
      path.startsWith('/v1/events') && ++streams <= 2
        ? { kind: 'cut-reply', afterBytes: 900 }
        : undefined
    const controller = new AbortController()
    const states: string[] = []
    const ids: string[] = []
    const watching = (async () => {
      const query = { task: 'watched', after: '0' }
      for await (const event of watch(connection, query, { signal: controller.signal })) {
        states.push(event.upload.state)
        ids.push(event.id)
        if (event.upload.state === 'sealed') break
      }
    })()
    async function* bytes() {
      yield Buffer.alloc(200_000)
    }
    await upload(connection, { stream: bytes() }, { task: 'watched', run: 0, name: 'x' })
    await watching
    expect(states.at(0)).toBe('open')
    expect(states.at(-1)).toBe('sealed')
    expect(new Set(ids).size).toBe(ids.length)
    expect(streams).toBeGreaterThan(1)
    controller.abort()

    const lines: Uint8Array[] = []
    for await (const line of readChecksums(connection, { task: 'watched', run: 0 }))
      lines.push(line)
    expect(Buffer.concat(lines).toString()).toMatch(/^[0-9a-f]{64} {2}x\n$/)
  })
})
