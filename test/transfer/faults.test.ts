import { readdir, readFile, writeFile } from 'node:fs/promises'
import { PassThrough } from 'node:stream'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connect, get, upload } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { sha256Of } from '../../client/verify/digest.ts'
import { writeBytes } from '../support/content.ts'
import { readDelivery } from '../support/delivery.ts'
import {
  type Fault,
  type FaultProxy,
  type SeenRequest,
  startFaultProxy,
} from '../support/fault-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const PART = 65_536
/** Two parts and a bit. */
const SIZE = 2 * PART + 100

let server: TestServer
let proxy: FaultProxy
let connection: Connection
let work: WorkFolder
let task = 0

beforeAll(async () => {
  server = await startTestServer()
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
    timing: {
      ...{ stallMs: 400, replyMs: 4000, retryFirstMs: 1, retryMaxMs: 5, farMs: 600_000 },
      // Whoever drips a byte in 20 ms brings less.
      ...{ paceMs: 300, paceBytes: 100 },
    },
  })
  task++
})
afterEach(async () => {
  await connection[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
  await work[Symbol.asyncDispose]()
})

const isPartPut = ({ method, path }: SeenRequest) => method === 'PUT' && path.includes('/blobs/')
const isBlobGet = ({ method, path }: SeenRequest) => method === 'GET' && path.includes('/blobs/')
const ends = (path: string) => (request: SeenRequest) => request.path.split('?')[0]?.endsWith(path)

/** Does something to the first `times` requests that match. */
function spoil(matches: (request: SeenRequest) => unknown, fault: Fault, times = 1): () => number {
  let done = 0
  proxy.fault = (request) => {
    if (!matches(request) || done >= times) return undefined
    done++
    return fault
  }
  return () => done
}

const flipDigit = (hex: string) => (hex.startsWith('0') ? '1' : '0') + hex.slice(1)
const target = () => ({ task: `faults-${task}`, run: 0, name: 'file' })

async function uploadFile(sizeBytes = SIZE) {
  const bytes = await writeBytes(work.at('file'), sizeBytes, `fault ${task}`)
  const result = await upload(connection, { file: work.at('file') }, target())
  expect(result.artifact.sha256).toBe(sha256Of(bytes))
  return { bytes, result }
}

describe('upload() through a bad network', () => {
  const passing: [string, Fault][] = [
    ['is cut in the middle', { kind: 'cut-request', afterBytes: 1000 }],
    ['gets no answer', { kind: 'lose-reply' }],
    ['arrives with a wrong bit', { kind: 'flip-request', atByte: 77 }],
    ['meets a busy store', { kind: 'answer', status: 503 }],
    ['meets a slow store', { kind: 'answer', status: 400, body: '<Code>RequestTimeout</Code>' }],
    ['comes with an expired grant', { kind: 'answer', status: 403 }],
    ['is said to be there', { kind: 'answer', status: 412 }],
  ]
  it.each(passing)('sends a part again that %s', async (_, fault) => {
    const count = spoil(isPartPut, fault, 2)
    await uploadFile()
    expect(count()).toBe(2)
  })

  it('sends a part again that nobody answers', async () => {
    const count = spoil(isPartPut, { kind: 'stall-request' })
    await uploadFile()
    expect(count()).toBe(1)
  })

  it.each(['/v1/uploads', '/grants', '/seal'])(
    'repeats %s after a lost answer, and gets the same',
    async (path) => {
      const bytes = await writeBytes(work.at('file'), SIZE, `lost ${task}`)
      const count = spoil((one) => one.method === 'POST' && ends(path)(one), { kind: 'lose-reply' })
      const { artifact } = await upload(
        connection,
        { file: work.at('file') },
        { task: `lost-${task}` },
      )
      expect(count()).toBe(1)
      expect(artifact).toMatchObject({ run: 0, sha256: sha256Of(bytes) })
    },
  )

  it('does not send twice a part that the store holds after a lost answer', async () => {
    spoil(isPartPut, { kind: 'lose-reply' })
    const { result } = await uploadFile(3 * PART)
    const puts = proxy.seen.filter(isPartPut)
    expect(result.sentBytes).toBe(BigInt(3 * PART))
    expect(puts.length).toBeLessThanOrEqual(4)
  })

  it('fails a part whose bytes arrive wrong again and again, and seals nothing', async () => {
    await writeBytes(work.at('file'), SIZE)
    spoil(isPartPut, { kind: 'flip-request', atByte: 3 }, 1000)
    await expect(upload(connection, { file: work.at('file') }, target())).rejects.toMatchObject({
      code: 'part_mismatch',
    })
    await expect(get(connection, target(), { output: work.at('out') })).rejects.toMatchObject({
      code: 'not_found',
    })
    const { body } = await server.request('GET', `/v1/uploads?state=open&task=faults-${task}`)
    expect(body).toMatchObject({ items: [] })
  })

  it('gives up when every part meets a dead end, and says why', async () => {
    await writeBytes(work.at('file'), SIZE)
    spoil(isPartPut, { kind: 'answer', status: 507, body: '' }, 1000)
    await expect(upload(connection, { file: work.at('file') }, target())).rejects.toMatchObject({
      message: expect.stringContaining('status 507'),
    })
    expect(proxy.seen.filter(isPartPut).length).toBeLessThanOrEqual(3)
  })

  it('never sends the token with the bytes', async () => {
    await uploadFile()
    await get(connection, target(), { output: work.at('out') })
    const moved = proxy.seen.filter((one) => isPartPut(one) || isBlobGet(one))
    expect(moved.length).toBeGreaterThanOrEqual(6)
    for (const { headers } of moved) expect(headers).not.toHaveProperty('authorization')
  })
})

describe('get() through a bad network', () => {
  const passing: [string, Fault][] = [
    ['is cut in the middle', { kind: 'cut-reply', afterBytes: 30_000 }],
    ['stands still', { kind: 'stall-reply', afterBytes: 30_000 }],
    ['comes by drips', { kind: 'drip-reply', everyMs: 20 }],
    ['arrives with a wrong bit', { kind: 'flip-reply', atByte: 77 }],
    ['meets a busy store', { kind: 'answer', status: 503 }],
    ['comes with an expired grant', { kind: 'answer', status: 403 }],
  ]
  it.each(passing)('fetches a part again that %s', async (_, fault) => {
    const { bytes } = await uploadFile()
    const count = spoil(isBlobGet, fault, 2)
    await get(connection, target(), { output: work.at('out') })
    expect(count()).toBe(2)
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('goes on inside a part that was cut, when memory has no room for two', async () => {
    const { bytes } = await uploadFile()
    const count = spoil(isBlobGet, { kind: 'cut-reply', afterBytes: 20_000 }, 3)
    await get(connection, target(), { output: work.at('out'), memoryBytes: PART })
    expect(count()).toBe(3)
    expect(proxy.seen.filter(isBlobGet)[1]?.headers.range).toBe(`bytes=20000-${SIZE - 1}`)
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('fetches a corrupt part alone, twice, and then fails', async () => {
    await uploadFile()
    proxy.fault = (request) =>
      isBlobGet(request) && request.headers.range?.startsWith(`bytes=${PART}-`)
        ? { kind: 'flip-reply', atByte: 5 }
        : undefined
    await expect(get(connection, target(), { output: work.at('out') })).rejects.toMatchObject({
      code: 'part_mismatch',
      message: expect.stringContaining('part 2'),
      expected: expect.stringMatching(/^[0-9a-f]{64}$/),
      found: expect.stringMatching(/^[0-9a-f]{64}$/),
    })
    const ranges = proxy.seen.filter(isBlobGet).map((one) => one.headers.range)
    expect(ranges.filter((range) => range?.startsWith(`bytes=${PART}-`))).toHaveLength(3)
    expect(ranges.filter((range) => range?.startsWith('bytes=0-'))).toHaveLength(1)
    expect(await readdir(work.path)).toEqual(['file'])
  })

  it('gives a stream no byte of a part that is corrupt', async () => {
    const { bytes } = await uploadFile()
    proxy.fault = (request) =>
      isBlobGet(request) && request.headers.range?.startsWith(`bytes=${PART}-`)
        ? { kind: 'flip-reply', atByte: 5 }
        : undefined
    for (const spool of [false, true]) {
      const output = new PassThrough({ highWaterMark: 16 * PART })
      await expect(get(connection, target(), { output, spool })).rejects.toMatchObject({
        code: 'part_mismatch',
      })
      output.end()
      const released = Buffer.concat(await output.toArray())
      expect(released).toEqual(spool ? Buffer.alloc(0) : bytes.subarray(0, PART))
    }
  })

  it('leaves nothing behind when the server vanishes', async () => {
    await uploadFile()
    proxy.fault = (request) =>
      isBlobGet(request) ? { kind: 'cut-reply', afterBytes: 0 } : undefined
    await expect(get(connection, target(), { output: work.at('out') })).rejects.toMatchObject({
      code: 'unreachable',
    })
    expect(await readdir(work.path)).toEqual(['file'])
  })

  it('asks again for a record that comes by drips', async () => {
    const { bytes } = await uploadFile()
    const count = spoil(ends('/delivery/file'), { kind: 'drip-reply', everyMs: 20 })
    await get(connection, target(), { output: work.at('out') })
    expect(count()).toBe(1)
    expect(proxy.seen.filter(ends('/delivery/file'))).toHaveLength(2)
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('gives up a store that never does more than drip, and leaves nothing', async () => {
    await uploadFile()
    proxy.fault = (request) =>
      isBlobGet(request) ? { kind: 'drip-reply', everyMs: 20 } : undefined
    await expect(get(connection, target(), { output: work.at('out') })).rejects.toMatchObject({
      code: 'unreachable',
      message: expect.stringContaining('bytes came in'),
    })
    expect(await readdir(work.path)).toEqual(['file'])
  })

  it('refuses a record whose part digests were changed on their way', async () => {
    await uploadFile()
    const honest = await readDelivery(server, target())
    const answer = (parts: typeof honest.parts) => {
      const body = JSON.stringify({ ...honest, parts })
      proxy.fault = (request) =>
        ends('/delivery/file')(request) ? { kind: 'answer', status: 200, body } : undefined
    }
    answer([])
    await expect(get(connection, target(), { output: work.at('out') })).rejects.toMatchObject({
      code: 'bad_reply',
    })
    for (const number of [1, 2, 3]) {
      const parts = honest.parts.map((part) =>
        part.number === number ? { ...part, sha256: flipDigit(part.sha256) } : part,
      )
      answer(parts)
      await expect(get(connection, target(), { output: work.at('out') })).rejects.toMatchObject({
        code: 'part_mismatch',
        message: expect.stringContaining(`part ${number}`),
      })
    }
    expect(await readdir(work.path)).toEqual(['file'])
  })

  it('refuses a range that is not the one asked for', async () => {
    await uploadFile()
    const faults: [Record<string, string>, string][] = [
      [{ 'content-range': `bytes 0-9/${SIZE}` }, 'bad_reply'],
      [{ 'content-range': `bytes 0-${PART - 1}/${SIZE + 1}` }, 'size_mismatch'],
      [{}, 'bad_reply'],
    ]
    for (const [headers, code] of faults) {
      proxy.fault = (request) =>
        isBlobGet(request) ? { kind: 'answer', status: 206, headers, body: 'x' } : undefined
      await expect(get(connection, target(), { output: work.at('out') })).rejects.toMatchObject({
        code,
      })
    }
    expect(await readdir(work.path)).toEqual(['file'])
  })

  it('says that the reader of a stream is gone', async () => {
    await uploadFile()
    const output = new PassThrough()
    output.destroy()
    await expect(get(connection, target(), { output })).rejects.toMatchObject({
      code: 'local_io',
      message: expect.stringContaining('reader is gone'),
    })
  })

  it('leaves a target alone that appears while it receives', async () => {
    await uploadFile()
    proxy.fault = (request) => {
      if (isBlobGet(request)) void writeFile(work.at('out'), 'first')
      return undefined
    }
    await expect(get(connection, target(), { output: work.at('out') })).rejects.toMatchObject({
      code: 'target_exists',
    })
    expect(await readFile(work.at('out'), 'utf8')).toBe('first')
    expect((await readdir(work.path)).sort()).toEqual(['file', 'out'])
  })
})
