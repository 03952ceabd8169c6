import { readFile } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connect, get, getRun, upload, uploadAll } from '../../client/client.ts'
import { type Budget, createBudget } from '../../client/transfer/budget.ts'
import type { Connection, Timing } from '../../client/transfer/connection.ts'
import { getVouched } from '../../client/transfer/get.ts'
import { fetchClaim } from '../../client/transfer/record.ts'
import { uploadWithin } from '../../client/transfer/upload.ts'
import { sha256Of } from '../../client/verify/digest.ts'
import { writeBytes } from '../support/content.ts'
import { type FaultProxy, type SeenRequest, startFaultProxy } from '../support/fault-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const PART = 65_536
const PARTS = 160
const SIZE = PARTS * PART - 100
const target = { task: 'slow', run: 0, name: 'file' }

let server: TestServer
let proxy: FaultProxy
let connection: Connection
let work: WorkFolder
let bytes: Buffer

// Any network is slow by these measures, and none is far.
const SLOW = { slowMs: 0, slowBytesPerSecond: Number.POSITIVE_INFINITY, farMs: 600_000 }
/** One stream is never slow, and always given a share alone. */
const SHARED = { ...SLOW, slowBytesPerSecond: 0, sharedBytesPerSecond: Number.POSITIVE_INFINITY }
const FAR = { farMs: 0 }
const NEAR = { slowMs: 600_000, farMs: 600_000 }

/** A connection through the proxy. */
function connectAs(timing: Partial<Timing>): Connection {
  return connect({
    url: proxy.url,
    token: server.token,
    timing: { stallMs: 3000, replyMs: 3000, retryFirstMs: 1, retryMaxMs: 5, ...timing },
  })
}

beforeAll(async () => {
  server = await startTestServer()
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
})
beforeEach(async () => {
  work = await makeWorkFolder()
  proxy = await startFaultProxy(server.url)
  connection = connectAs(SLOW)
  bytes = await writeBytes(work.at('file'), SIZE, 'slow')
})
afterEach(async () => {
  await connection[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
  await work[Symbol.asyncDispose]()
})

const isPartPut = ({ method, path }: SeenRequest) => method === 'PUT' && path.includes('/blobs/')
/** The grant of a part names its number. */
const partOf = ({ path }: SeenRequest) => new URLSearchParams(path.split('?')[1]).get('part')
const isBlobGet = ({ method, path }: SeenRequest) => method === 'GET' && path.includes('/blobs/')

const SLOW_DOWN = {
  kind: 'answer',
  status: 503,
  body: '<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>',
} as const
const countLanes = ({ requests, farRequests }: Budget) => requests.total + farRequests.total

describe('upload() over a slow network', () => {
  it('goes on from the file when all memory waits for the network', async () => {
    let stalled = 0
    proxy.fault = (request) => {
      // As many as there are requests with memory: not one of them ends before it is given up.
      const isHeld = isPartPut(request) && stalled < 6
      if (isHeld) stalled++
      return isHeld ? { kind: 'stall-request' } : undefined
    }
    const { artifact, sentBytes } = await upload(connection, { file: work.at('file') }, target)
    expect(artifact.sha256).toBe(sha256Of(bytes))
    expect(sentBytes).toBe(BigInt(SIZE))
    const puts = proxy.seen.filter(isPartPut)
    expect(puts).toHaveLength(PARTS + 6)
    // Seven have memory, and six of those wait: more than seven go out before one goes out again.
    const numbers = puts.map(partOf)
    const firstAgain = numbers.findIndex((number, index) => numbers.indexOf(number) < index)
    expect(firstAgain).toBeGreaterThan(7)
    expect(new Set(numbers).size).toBe(PARTS)
  })

  it('has more parts on their way at once than there is memory for', async () => {
    const { promise: until, resolve } = Promise.withResolvers<void>()
    let held = 0
    proxy.fault = (request) => {
      if (!isPartPut(request)) return undefined
      // Not one is let through before so many are here.
      if (++held === 30) resolve()
      return { kind: 'wait', until }
    }
    const another = { ...target, name: 'side-by-side' }
    const { artifact } = await upload(connection, { file: work.at('file') }, another)
    expect(artifact.sha256).toBe(sha256Of(bytes))
    expect(held).toBe(PARTS)
  })

  it('waits for memory as long as enough goes out, however long that takes', async () => {
    await using busy = connectAs({ slowMs: 1, slowBytesPerSecond: 0, farMs: 0 })
    const { promise: until, resolve } = Promise.withResolvers<void>()
    let held = 0
    let heldBefore = 0
    proxy.fault = (request) => {
      // The first report comes a second later: until then none is let through.
      if (request.path.endsWith('/progress')) {
        heldBefore ||= held
        resolve()
      }
      if (!isPartPut(request)) return undefined
      held++
      return { kind: 'wait', until }
    }
    const another = { ...target, name: 'busy' }
    await upload(busy, { file: work.at('file') }, another)
    expect(heldBefore).toBe(6)
    expect(held).toBe(PARTS)
  })

  it('has fewer on their way once the store asks it to slow down', async () => {
    let told = 0
    // At the end, so that few are left that go well.
    proxy.fault = (request) =>
      isPartPut(request) && Number(partOf(request)) > PARTS - 3 && told++ < 3
        ? SLOW_DOWN
        : undefined
    const budget = createBudget({})
    const before = countLanes(budget)
    const another = { ...target, name: 'slowed-down' }
    await uploadWithin(budget, connection, { file: work.at('file') }, another, {})
    expect(countLanes(budget)).toBeLessThan(before)
  })
})

describe('get() over a far network', () => {
  beforeEach(async () => {
    await using direct = connect({ url: server.url, token: server.token })
    await upload(direct, { file: work.at('file') }, target)
  })
  const rangesSeen = () => proxy.seen.filter(isBlobGet).map((one) => one.headers.range)
  const whole = `bytes=0-${SIZE - 1}`

  it('fetches it as one stream where it is near', async () => {
    await using near = connectAs(NEAR)
    await get(near, target, { output: work.at('out'), streamFromBytes: 1 })
    expect(rangesSeen()).toEqual([whole])
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('fetches parts that memory holds in pieces too, and none of them with a flipped bit', async () => {
    await using site = await startTestServer({ settings: { partSizeBytes: String(2 * 1024 ** 2) } })
    await using direct = connect({ url: site.url, token: site.token })
    await upload(direct, { file: work.at('file') }, target)
    await using cutting = await startFaultProxy(site.url)
    await using far = connect({ url: cutting.url, token: site.token, timing: FAR })
    let flipped = 0
    cutting.fault = (request) =>
      isBlobGet(request) && flipped++ === 2 ? { kind: 'flip-reply', atByte: 7 } : undefined
    const { checks } = await get(far, target, { output: work.at('out') })
    expect(checks).toContain('parts')
    const ranges = cutting.seen.filter(isBlobGet)
    // A part of 2 MiB is eight pieces, and the one with the flipped bit comes twice.
    expect(ranges).toHaveLength(Math.ceil(SIZE / (256 * 1024)) + 8)
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('has fewer pieces on their way once the store asks it to slow down', async () => {
    await using far = connectAs(FAR)
    let told = 0
    proxy.fault = (request) => (isBlobGet(request) && told++ < 3 ? SLOW_DOWN : undefined)
    const budget = createBudget({})
    const before = countLanes(budget)
    const claim = await fetchClaim(far, target, new AbortController().signal)
    await getVouched(budget, far, { ...claim, checks: [] }, { output: work.at('out') })
    expect(countLanes(budget)).toBeLessThan(before)
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })
})

describe('a folder of small files over a far network', () => {
  it('goes up and comes back by several requests side by side', async () => {
    await using far = connectAs(FAR)
    const files = Array.from({ length: 24 }, (_, index) => `file-${index}`)
    for (const name of files) await writeBytes(work.at(name), 16_384, name)
    const entries = files.map((name) => ({ file: work.at(name), name }))
    const before = proxy.seen.length
    const sent = await uploadAll(far, entries, { task: 'many' })
    expect([sent.done.length, sent.failed]).toEqual([24, []])
    const batches = proxy.seen.slice(before).filter(({ path }) => path === '/v1/artifacts')
    // Of each of these 64 KiB three quarters are content at most.
    expect(batches.length).toBeGreaterThan(4)
    const got = await getRun(far, 'many', 0, work.at('out'))
    expect([got.done.length, got.failed]).toEqual([24, []])
    expect(proxy.seen.filter(({ path }) => path.endsWith('/contents')).length).toBeGreaterThan(4)
    for (const name of files)
      expect(await readFile(work.at('out', name))).toEqual(await readFile(work.at(name)))
  })
})

describe('get() where each connection is given a share', () => {
  beforeEach(async () => {
    await using direct = connect({ url: server.url, token: server.token })
    await upload(direct, { file: work.at('file') }, target)
  })
  const rangesSeen = () => proxy.seen.filter(isBlobGet).map((one) => one.headers.range)
  const receive = (from: Connection, concurrency?: number) =>
    get(from, target, { output: work.at('out'), streamFromBytes: 1, concurrency })

  it('goes on as several streams, no more than it was allowed, which stay where they bring more', async () => {
    await using shared = connectAs({ ...SHARED, gainMin: 0 })
    const { promise: until, resolve } = Promise.withResolvers<void>()
    let held = 0
    proxy.fault = (request) => {
      if (!isBlobGet(request) || request.headers.range === `bytes=0-${SIZE - 1}`) return undefined
      // None is let through before so many are here.
      if (++held === 3) resolve()
      return { kind: 'wait', until }
    }
    await receive(shared, 3)
    const [first, ...pieces] = rangesSeen()
    expect(first).toBe(`bytes=0-${SIZE - 1}`)
    expect(pieces.length).toBeGreaterThan(6)
    expect(new Set(pieces).size).toBe(pieces.length)
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('goes back to one where several bring no more', async () => {
    await using shared = connectAs({ ...SHARED, gainMin: Number.POSITIVE_INFINITY })
    await receive(shared)
    const ranges = rangesSeen()
    expect(ranges.at(-1)).toMatch(new RegExp(`-${SIZE - 1}$`))
    // One, six that were under way as it was told, at most one more for each of those, and the rest.
    expect(ranges.length).toBeLessThanOrEqual(1 + 2 * 6 + 1)
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('stays with one that carries enough', async () => {
    await using near = connectAs({ ...SHARED, sharedBytesPerSecond: 0 })
    await receive(near)
    expect(rangesSeen()).toEqual([`bytes=0-${SIZE - 1}`])
  })
})

describe('get() over a slow network', () => {
  const receive = async () => {
    // Nothing stands still here: on a busy machine an answer that is late would be asked for again.
    await using patient = connectAs({ ...SLOW, stallMs: 120_000, replyMs: 120_000 })
    return await get(patient, target, { output: work.at('out'), streamFromBytes: 1 })
  }
  const piecesSeen = () => proxy.seen.filter(isBlobGet).map((one) => one.headers.range)

  beforeEach(async () => {
    await using direct = connect({ url: server.url, token: server.token })
    await upload(direct, { file: work.at('file') }, target)
  })

  it('fetches what is left in pieces side by side, each once', async () => {
    await receive()
    const [first, ...pieces] = piecesSeen()
    expect(first).toBe(`bytes=0-${SIZE - 1}`)
    expect(pieces.length).toBeGreaterThan(1)
    expect(new Set(pieces).size).toBe(pieces.length)
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('goes on inside a piece that was cut', async () => {
    let cuts = 0
    proxy.fault = (request) =>
      isBlobGet(request) && !request.headers.range?.startsWith('bytes=0-') && cuts++ < 5
        ? { kind: 'cut-reply', afterBytes: 100_000 }
        : undefined
    await receive()
    expect(cuts).toBeGreaterThan(5)
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('gives up all pieces with the one that cannot be had', async () => {
    proxy.fault = (request) =>
      isBlobGet(request) && !request.headers.range?.startsWith('bytes=0-')
        ? { kind: 'answer', status: 404 }
        : undefined
    await expect(receive()).rejects.toMatchObject({ code: 'blob_missing' })
  })

  it('lets no flipped bit of a piece pass', async () => {
    proxy.fault = (request) =>
      isBlobGet(request) && !request.headers.range?.startsWith('bytes=0-')
        ? { kind: 'flip-reply', atByte: 7 }
        : undefined
    await expect(receive()).rejects.toMatchObject({ code: 'part_mismatch' })
  })
})
