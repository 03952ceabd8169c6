import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { type HeldBody, requestBulk } from '../../client/wire/bulk-reply.ts'

/** Asks a server that does to each socket as it is told, once the request is there. */
async function ask(answer: (socket: Socket) => void, gatherMs?: number, hold?: HeldBody) {
  await using stack = new AsyncDisposableStack()
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => answer(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  stack.defer(() => void server.close())
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('The server has no port')
  const url = new URL(`http://127.0.0.1:${address.port}/`)
  const { signal } = new AbortController()
  const reply = await requestBulk({
    ...{ url, headers: {}, connectMs: 5000, replyMs: 5000, gatherMs, hold, signal },
  })
  const held = stack.move()
  return { reply, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

const headOf = (sizeBytes: number) => `HTTP/1.1 200 OK\r\nContent-Length: ${sizeBytes}\r\n\r\n`

async function read(body: AsyncIterable<Uint8Array> | undefined): Promise<string> {
  let text = ''
  for await (const piece of body ?? []) text += Buffer.from(piece).toString('latin1')
  return text
}

describe('requestBulk()', () => {
  it.each([0, 60_000])(
    'brings bytes as they were sent that came with the head and after it, gathered for %i ms',
    async (gatherMs) => {
      const rest = 'rest'.repeat(50_000)
      let socket: Socket | undefined
      await using asked = await ask((one) => {
        socket = one
        // In one packet.
        one.write(`${headOf(5 + rest.length)}first`)
      }, gatherMs)
      // The head was read, and what came with it.
      socket?.write(rest)
      expect(await read(asked.reply?.body)).toBe(`first${rest}`)
    },
  )

  it.each(['', 'whole'])('brings a body that came with the head: "%s"', async (body) => {
    await using asked = await ask((socket) => socket.write(`${headOf(body.length)}${body}`))
    expect(asked.reply?.sizeBytes).toBe(body.length)
    expect(await read(asked.reply?.body)).toBe(body)
  })

  it('holds a whole body that nobody reads yet, in memory that serves the next one', async () => {
    const spare: Buffer[] = []
    const bodyBytes = 5 * 1024 ** 2 + 3
    const hold = { sizeBytes: bodyBytes, spare }
    let buffers: Set<unknown> | undefined
    for (const letter of ['a', 'b']) {
      const isTaken = Promise.withResolvers<void>()
      await using asked = await ask(
        (socket) => {
          // It is the reader who hangs up, once all is there.
          socket.once('close', () => isTaken.resolve())
          socket.write(`${headOf(bodyBytes)}${letter.repeat(bodyBytes)}`)
        },
        60_000,
        hold,
      )
      await isTaken.promise
      expect((await read(asked.reply?.body)) === letter.repeat(bodyBytes)).toBe(true)
      const used = new Set(spare.map(({ buffer }) => buffer))
      expect(used.size).toBe(6)
      expect(used).toEqual(buffers ?? used)
      buffers ??= used
      expect([...used].every((one) => buffers?.has(one))).toBe(true)
    }
  })

  it('takes no more than was stated', async () => {
    await using asked = await ask((socket) => socket.write(`${headOf(5)}wholeand more`))
    expect(await read(asked.reply?.body)).toBe('whole')
  })

  it('throws when the connection ends before, after what came', async () => {
    await using asked = await ask((socket) => socket.end(`${headOf(9)}some`))
    let text = ''
    const reading = async () => {
      for await (const piece of asked.reply?.body ?? []) text += Buffer.from(piece).toString()
    }
    await expect(reading()).rejects.toThrow('the connection was cut')
    expect(text).toBe('some')
  })

  it('leaves what has no stated length to others', async () => {
    await using asked = await ask((socket) =>
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
    )
    expect(asked.reply).toBeUndefined()
  })
})
