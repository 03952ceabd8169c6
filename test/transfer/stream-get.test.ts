import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { PassThrough } from 'node:stream'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connect, get, upload } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import type { GetOptions } from '../../client/transfer/get-options.ts'
import { writeBytes } from '../support/content.ts'
import {
  type Fault,
  type FaultProxy,
  type SeenRequest,
  startFaultProxy,
} from '../support/fault-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const PART = 65_536
/** More than the memory of one stream, so that its buffers are used again. */
const SIZE = 90 * PART + 100

let server: TestServer
let proxy: FaultProxy
let connection: Connection
let work: WorkFolder
let bytes: Buffer
const target = { task: 'stream', run: 0, name: 'file' }

beforeAll(async () => {
  server = await startTestServer({ signed: true })
  await using first = await makeWorkFolder()
  bytes = await writeBytes(first.at('file'), SIZE, 'stream')
  await using direct = connect({ url: server.url, token: server.token })
  await upload(direct, { file: first.at('file') }, target)
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
})
beforeEach(async () => {
  work = await makeWorkFolder()
  proxy = await startFaultProxy(server.url)
  connection = connect({
    url: proxy.url,
    token: server.token,
    // No machine is so busy that the network counts as slow.
    timing: {
      stallMs: 1000,
      replyMs: 4000,
      retryFirstMs: 1,
      retryMaxMs: 5,
      slowMs: 600_000,
      farMs: 600_000,
    },
  })
})
afterEach(async () => {
  await connection[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
  await work[Symbol.asyncDispose]()
})

const isBlobGet = ({ method, path }: SeenRequest) => method === 'GET' && path.includes('/blobs/')
const rangesSeen = () => proxy.seen.filter(isBlobGet).map((one) => one.headers.range)
const receive = (options: Partial<GetOptions> = {}) =>
  get(connection, target, { output: work.at('out'), streamFromBytes: 1, ...options })

/** Does something to the first `times` requests for bytes. */
function spoil(fault: Fault, times = 1): void {
  let done = 0
  proxy.fault = (request) => (isBlobGet(request) && done++ < times ? fault : undefined)
}

/** Inverts a bit at this place of the artifact, in every answer that has it or in the first one. */
function flipAt(place: number, times: number): void {
  let done = 0
  proxy.fault = (request) => {
    const [, from = '0', to = '0'] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    const isIn = isBlobGet(request) && Number(from) <= place && place <= Number(to)
    return isIn && done++ < times ? { kind: 'flip-reply', atByte: place - Number(from) } : undefined
  }
}

describe('get() as one stream', () => {
  it('asks once, and names the checks that were made', async () => {
    const { checks, receivedBytes } = await receive()
    expect(rangesSeen()).toEqual([`bytes=0-${SIZE - 1}`])
    expect(checks.filter((check) => ['record', 'size', 'parts', 'sha256'].includes(check))).toEqual(
      ['record', 'size', 'sha256'],
    )
    expect(receivedBytes).toBe(BigInt(SIZE))
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('checks the part digests too when every check is demanded', async () => {
    const { checks } = await receive({ verify: true })
    expect(checks).toEqual(expect.arrayContaining(['size', 'parts', 'sha256', 'inclusion']))
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it.each<[string, Fault]>([
    ['is cut in the middle', { kind: 'cut-reply', afterBytes: 2_000_000 }],
    ['is cut before its first byte', { kind: 'cut-reply', afterBytes: 0 }],
    ['stands still', { kind: 'stall-reply', afterBytes: 2_000_000 }],
    ['meets a busy store', { kind: 'answer', status: 503 }],
    ['comes with an expired grant', { kind: 'answer', status: 403 }],
  ])('goes on when it %s', async (_, fault) => {
    spoil(fault, 2)
    await receive()
    expect(rangesSeen().length).toBeGreaterThan(2)
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('fetches again only the part that arrived with a wrong bit', async () => {
    flipAt(5 * PART + 3, 1)
    await receive()
    expect(rangesSeen()).toEqual([`bytes=0-${SIZE - 1}`, `bytes=${5 * PART}-${6 * PART - 1}`])
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('names the part that is corrupt again and again, and leaves nothing', async () => {
    flipAt(5 * PART + 3, Number.POSITIVE_INFINITY)
    await expect(receive()).rejects.toMatchObject({
      code: 'part_mismatch',
      message: expect.stringContaining('part 6'),
    })
    expect(rangesSeen()).toHaveLength(3)
    expect(await readdir(work.path)).toEqual([])
  })

  it.each([0, PART - 1, SIZE - 1])('lets no flipped bit pass, at byte %i', async (place) => {
    flipAt(place, Number.POSITIVE_INFINITY)
    await expect(receive()).rejects.toMatchObject({ code: 'part_mismatch' })
    expect(await readdir(work.path)).toEqual([])
  })

  it.each([
    [{ 'content-range': `bytes 0-9/${SIZE}` }, 'bad_reply'],
    [{ 'content-range': `bytes 0-${SIZE - 1}/${SIZE + 1}` }, 'size_mismatch'],
  ])('refuses a range that is not the one asked for: %o', async (headers, code) => {
    proxy.fault = (request) =>
      isBlobGet(request) ? { kind: 'answer', status: 206, headers, body: 'x' } : undefined
    await expect(receive()).rejects.toMatchObject({ code })
    expect(await readdir(work.path)).toEqual([])
  })

  it('takes an answer of unstated length by the general client', async () => {
    proxy.fault = (request) =>
      isBlobGet(request)
        ? {
            kind: 'answer',
            status: 206,
            headers: {
              'content-range': `bytes 0-${SIZE - 1}/${SIZE}`,
              'transfer-encoding': 'chunked',
            },
            body: bytes,
          }
        : undefined
    await receive()
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('keeps what came before an interruption, and fetches only the rest', async () => {
    const controller = new AbortController()
    const onProgress: GetOptions['onProgress'] = ({ settledBytes }) => {
      if (settledBytes > 2_000_000n) controller.abort()
    }
    proxy.fault = (request) =>
      isBlobGet(request) ? { kind: 'stall-reply', afterBytes: 4_000_000 } : undefined
    await expect(receive({ onProgress, signal: controller.signal })).rejects.toMatchObject({
      code: 'interrupted',
    })
    proxy.fault = () => undefined
    const [kept = ''] = await readdir(work.path)
    const size = (await stat(work.at(kept))).size
    const spoiled = await readFile(work.at(kept))
    spoiled[3 * PART] = (spoiled[3 * PART] ?? 0) ^ 1
    await writeFile(work.at(kept), spoiled)
    proxy.seen.length = 0
    const { resumedBytes } = await receive()
    const whole = Math.floor(size / PART)
    expect(resumedBytes).toBe(BigInt((whole - 1) * PART))
    expect(rangesSeen()).toEqual([
      `bytes=${3 * PART}-${4 * PART - 1}`,
      `bytes=${whole * PART}-${SIZE - 1}`,
    ])
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('holds a spooled stream back until the whole is verified', async () => {
    flipAt(5 * PART + 3, Number.POSITIVE_INFINITY)
    const output = new PassThrough({ highWaterMark: 2 * SIZE })
    await expect(receive({ output, spool: true })).rejects.toMatchObject({ code: 'part_mismatch' })
    expect(output.readableLength).toBe(0)
    proxy.fault = () => undefined
    await receive({ output, spool: true })
    output.end()
    expect(Buffer.concat(await output.toArray())).toEqual(bytes)
  })
})
