import { readFile } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connect, get, upload } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
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

beforeAll(async () => {
  server = await startTestServer()
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
})
beforeEach(async () => {
  work = await makeWorkFolder()
  proxy = await startFaultProxy(server.url)
  // Any network is slow by these measures.
  const slow = { slowMs: 0, slowBytesPerSecond: Number.POSITIVE_INFINITY }
  connection = connect({
    url: proxy.url,
    token: server.token,
    timing: { stallMs: 3000, replyMs: 3000, retryFirstMs: 1, retryMaxMs: 5, ...slow },
  })
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
})

describe('get() over a slow network', () => {
  const receive = (concurrency?: number) =>
    get(connection, target, { output: work.at('out'), streamFromBytes: 1, concurrency })
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
