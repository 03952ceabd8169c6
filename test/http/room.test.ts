/** Large requests share one memory: in turns, and nobody keeps the others out. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BATCH_CONTENT_BYTES_MAX } from '../../schemas/batch.ts'
import { createRoom, type RoomOptions } from '../../server/room.ts'
import { codesOf, makeSmall, sendBatch } from '../support/batch.ts'
import { makeBytes } from '../support/content.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

const MIB = 1024 ** 2
const OPTIONS: RoomOptions = {
  bytes: 10,
  share: 1,
  waitingMax: 10,
  patienceMs: 60_000,
  paceMs: 20,
  paceBytes: 100,
}

describe('a room', () => {
  it('lets in by the order of asking, so that small ones do not starve a large one', async () => {
    const room = createRoom(OPTIONS)
    const order: string[] = []
    const first = await room.enter('one', 6)
    const large = room.enter('one', 8).then((stay) => {
      order.push('large')
      return stay
    })
    const small = room.enter('one', 1).then((stay) => {
      order.push('small')
      return stay
    })
    first[Symbol.dispose]()
    const stays = await Promise.all([large, small])
    expect(order).toEqual(['large', 'small'])
    for (const stay of stays) stay[Symbol.dispose]()
  })

  it('takes more than there is for all, and gives back what it took once', async () => {
    const room = createRoom(OPTIONS)
    const all = await room.enter('one', 1000)
    const next = room.enter('one', 10)
    all[Symbol.dispose]()
    all[Symbol.dispose]()
    const held = await next
    const last = room.enter('one', 1)
    held[Symbol.dispose]()
    await last
  })

  it('keeps a part for others, however much one caller asks for', async () => {
    const room = createRoom({ ...OPTIONS, share: 0.75 })
    const held = await room.enter('greedy', 1000)
    const greedy = [room.enter('greedy', 1), room.enter('greedy', 1)]
    // Behind these, and not held up by them.
    const modest = await room.enter('modest', 2)
    held[Symbol.dispose]()
    await Promise.all(greedy)
    modest[Symbol.dispose]()
  })

  it('gives more to those who are in before it lets others in', async () => {
    const room = createRoom(OPTIONS)
    const [first, second] = [await room.enter('one', 5), await room.enter('one', 5)]
    const order: string[] = []
    const outside = room.enter('one', 3).then((stay) => {
      order.push('outside')
      return stay
    })
    const grown = first.grow(3).then(() => order.push('inside'))
    second[Symbol.dispose]()
    await grown
    first[Symbol.dispose]()
    ;(await outside)[Symbol.dispose]()
    expect(order).toEqual(['inside', 'outside'])
    await room.enter('one', 10)
  })

  it('lets the one who is in longest go on when all who are in wait for more', async () => {
    const room = createRoom(OPTIONS)
    const [first, second] = [await room.enter('one', 5), await room.enter('one', 5)]
    const order: string[] = []
    const late = second.grow(4).then(() => order.push('second'))
    const early = first.grow(4).then(() => order.push('first'))
    await early
    await first.grow(4)
    expect(order).toEqual(['first'])
    first[Symbol.dispose]()
    await late
    second[Symbol.dispose]()
    await room.enter('one', 10)
  })

  it('does not cut off a peer for the time in which it waits for memory', async () => {
    const room = createRoom(OPTIONS)
    using held = await room.enter('one', 5)
    using other = await room.enter('one', 5)
    let isCut = false
    using _ = held.awaitPeer(() => {
      isCut = true
    })
    const isSlow = Promise.withResolvers<void>()
    using slow = other.awaitPeer(isSlow.resolve)
    const leaving = new AbortController()
    const growing = held.grow(1, leaving.signal)
    await isSlow.promise
    slow[Symbol.dispose]()
    leaving.abort(new Error('gone'))
    await expect(growing).rejects.toThrow('gone')
    expect(isCut).toBe(false)
  })

  it('refuses whoever would wait behind too many', async () => {
    const room = createRoom({ ...OPTIONS, waitingMax: 1 })
    using _ = await room.enter('one', 10)
    const waiting = new AbortController()
    const second = room.enter('one', 1, waiting.signal)
    await expect(room.enter('one', 1)).rejects.toMatchObject({
      code: 'overloaded',
      retryAfterSeconds: 1,
    })
    waiting.abort(new Error('gone'))
    await expect(second).rejects.toThrow('gone')
  })

  it('refuses whoever has waited too long', async () => {
    const room = createRoom({ ...OPTIONS, patienceMs: 1 })
    using _ = await room.enter('one', 10)
    await expect(room.enter('one', 1)).rejects.toMatchObject({ code: 'overloaded' })
  })

  it('goes on with the next when one who waits leaves, even at the moment of his turn', async () => {
    const room = createRoom(OPTIONS)
    const held = await room.enter('one', 10)
    const leaving = new AbortController()
    const left = room.enter('one', 10, leaving.signal)
    const next = room.enter('one', 10)
    held[Symbol.dispose]()
    leaving.abort(new Error('gone'))
    ;(await left)[Symbol.dispose]()
    await next
  })

  it('cuts off a peer that does not move while others wait, and no other', async () => {
    const room = createRoom(OPTIONS)
    using slow = await room.enter('one', 5)
    using quick = await room.enter('one', 5)
    const cut: string[] = []
    const isCut = Promise.withResolvers<void>()
    using still = slow.awaitPeer(() => {
      cut.push('slow')
      isCut.resolve()
    })
    using moving = quick.awaitPeer(() => void cut.push('quick'))
    still.moved(99)
    moving.moved(100)
    const leaving = new AbortController()
    const waiting = room.enter('one', 1, leaving.signal)
    await isCut.promise
    expect(cut).toEqual(['slow'])
    leaving.abort(new Error('gone'))
    await expect(waiting).rejects.toThrow('gone')
  })
})

/** One answer of contents at a time, or one batch. */
const ONE_AT_A_TIME = { requestMemoryBytes: String(5 * MIB) }
const SOON = { paceMs: 100 }
const COUNT = 24
const names = Array.from({ length: COUNT }, (_, index) => `f${index}`)
const batch = (task: string) =>
  names.map((name, index) =>
    makeSmall({ task, name }, makeBytes(BATCH_CONTENT_BYTES_MAX - index, name)),
  )

function formatPost(
  { token }: TestServer,
  path: string,
  body: string,
  lengthBytes = body.length,
): string {
  const head = [
    `POST ${path} HTTP/1.1`,
    'host: artifacts',
    `authorization: Bearer ${token}`,
    'content-type: application/json',
    `content-length: ${lengthBytes}`,
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}

async function openPeer({ url }: TestServer): Promise<Socket> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  // It is cut off, and that is the point.
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

it('counts of bodies what has come of them, so that slow senders leave room for others', async () => {
  // Whoever had to wait would do so for ever.
  const never = { paceMs: 3_600_000, patienceMs: 3_600_000 }
  const settings = { requestMemoryBytes: String(16 * MIB) }
  await using server = await startTestServer({ settings, room: never })
  const peers = await Promise.all(Array.from({ length: 16 }, () => openPeer(server)))
  // Each of them far more than all there is, by its own account.
  for (const peer of peers)
    peer.write(formatPost(server, '/v1/artifacts', '{"artifacts": [', 4 * MIB))
  for (let round = 0; round < 3; round++) {
    const some = batch(`beside-${round}`).slice(0, 8)
    expect(codesOf(await sendBatch(server, some))).toEqual(some.map(() => 'sealed'))
  }
  for (const peer of peers) peer.destroy()
})

describe('a server with little memory for large requests', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startTestServer({ settings: ONE_AT_A_TIME, room: SOON })
    await sendBatch(server, batch('held'))
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const askContents = () =>
    server.request('POST', '/v1/tasks/held/runs/0/contents', { body: { names } })

  it('serves all who come at once, one after the other', async () => {
    const tasks = Array.from({ length: 6 }, (_, index) => `crowd-${index}`)
    const outcomes = await Promise.all(tasks.map((task) => sendBatch(server, batch(task))))
    for (const one of outcomes) expect(codesOf(one)).toEqual(names.map(() => 'sealed'))
    const answers = await Promise.all(tasks.map(askContents))
    for (const { status, body } of answers) {
      expect(status).toBe(200)
      expect(body).toMatchObject({
        items: batch('held').map(({ content }) => ({ outcome: 'content', content })),
      })
    }
  })

  it('cuts off a reader that never reads, for those who wait behind him', async () => {
    const reader = await openPeer(server)
    const closed = once(reader, 'close')
    let readBytes = 0
    reader.pause().on('data', (chunk) => {
      readBytes += chunk.length
    })
    // Longer answers than all buffers between the two can hold, which are some 36 MiB.
    const many = Array.from({ length: 10 }, () => names).flat()
    const body = JSON.stringify({ names: many })
    reader.write(formatPost(server, '/v1/tasks/held/runs/0/contents', body).repeat(4))
    // Its first answer may be taken whole; its second or third one is not, and holds up a later round.
    for (let round = 0; round < 4; round++) {
      const answers = await Promise.all(Array.from({ length: 4 }, askContents))
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    }
    reader.resume()
    await closed
    expect(readBytes).toBeLessThan(4 * many.length * BATCH_CONTENT_BYTES_MAX)
  })

  it('cuts off a sender that stops sending, for those who wait behind him', async () => {
    const sender = await openPeer(server)
    const closed = once(sender, 'close').then(() => true)
    // Most of what bodies may hold while they come.
    const begun = `{"artifacts": [${' '.repeat(0.875 * MIB)}`
    sender.resume().write(formatPost(server, '/v1/artifacts', begun, 2 * MIB))
    // The first one may be there before it; whoever comes after it waits until it is cut off.
    for (let round = 0, isOver = false; !isOver; round++) {
      const outcomes = sendBatch(server, batch(`behind-${round}`))
      expect(codesOf(await outcomes)).toEqual(names.map(() => 'sealed'))
      isOver = await Promise.race([closed, Promise.resolve(false)])
    }
  })
})
