import { mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connect, get, type TransferProgress, upload } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { sha256Of } from '../../client/verify/digest.ts'
import { writeBytes } from '../support/content.ts'
import { type FaultProxy, type SeenRequest, startFaultProxy } from '../support/fault-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const PART = 1024 ** 2
const PARTS = 8

let server: TestServer
let proxy: FaultProxy
let connection: Connection
let work: WorkFolder
let task = 0

beforeAll(async () => {
  server = await startTestServer({ settings: { partSizeBytes: String(PART) } })
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
    timing: { retryFirstMs: 1, retryMaxMs: 5, farMs: 600_000 },
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
const partOf = ({ path }: SeenRequest) => path.split('?')[0]

/** Room for a few parts: so that an interruption finds some sent and others not. */
const memoryBytes = 3 * PART
const journalOf = () => work.at('journal')
const listJournal = () => readdir(journalOf()).catch(() => [])

/** Interrupts an upload or a download once so many requests for bytes have come. */
function interruptAfter(count: number, matches: (request: SeenRequest) => boolean): AbortSignal {
  const controller = new AbortController()
  let come = 0
  proxy.fault = (request) => {
    if (matches(request) && ++come > count) {
      controller.abort(new Error('Ctrl-C'))
      return { kind: 'stall-request' }
    }
    return undefined
  }
  return controller.signal
}

async function countUploads(state: string): Promise<number> {
  const { body } = await server.request('GET', `/v1/uploads?state=${state}&task=resume-${task}`)
  return typeof body === 'object' && body !== null && 'items' in body && Array.isArray(body.items)
    ? body.items.length
    : Number.NaN
}

describe('upload() again after an interruption', () => {
  const send = (signal?: AbortSignal, onProgress?: (progress: TransferProgress) => void) =>
    upload(
      connection,
      { file: work.at('file') },
      { task: `resume-${task}` },
      { journal: journalOf(), memoryBytes, concurrency: 2, signal, onProgress },
    )

  const SIZE = 20 * PART

  it('sends only what is missing, into the same run', async () => {
    const bytes = await writeBytes(work.at('file'), SIZE, `resume ${task}`)
    await expect(send(interruptAfter(12, isPartPut))).rejects.toMatchObject({
      code: 'interrupted',
      message: expect.stringContaining('goes on where it stopped'),
    })
    expect(await listJournal()).toHaveLength(1)
    expect(await countUploads('open')).toBe(1)
    const first = proxy.seen.filter(isPartPut).length
    proxy.fault = () => undefined
    proxy.seen.length = 0
    const told: TransferProgress[] = []
    const result = await send(undefined, (progress) => void told.push(progress))
    expect(result).toMatchObject({ outcome: 'sealed', resumed: true })
    expect(result.artifact).toMatchObject({ run: 0, sha256: sha256Of(bytes) })
    const second = proxy.seen.filter(isPartPut)
    expect(second.length).toBeLessThanOrEqual(20 - 10)
    expect(first + second.length).toBeLessThanOrEqual(20 + 4)
    expect(told.at(-1)?.attempt).toBe(2)
    expect(await listJournal()).toEqual([])
  })

  it('begins anew when the file has other bytes, though size and time are the same', async () => {
    await writeBytes(work.at('file'), SIZE, `resume ${task}`)
    const then = new Date('2020-02-02T02:02:02Z')
    await utimes(work.at('file'), then, then)
    await expect(send(interruptAfter(10, isPartPut))).rejects.toMatchObject({ code: 'interrupted' })
    const bytes = await writeBytes(work.at('file'), SIZE, `other ${task}`)
    await utimes(work.at('file'), then, then)
    proxy.fault = () => undefined
    const result = await send()
    expect(result.artifact).toMatchObject({ run: 0, sha256: sha256Of(bytes) })
    expect(await countUploads('open')).toBe(0)
    expect(await countUploads('aborted')).toBe(1)
  })

  it('begins anew in the same run when the open upload is gone', async () => {
    const bytes = await writeBytes(work.at('file'), SIZE, `resume ${task}`)
    await expect(send(interruptAfter(10, isPartPut))).rejects.toMatchObject({ code: 'interrupted' })
    proxy.fault = () => undefined
    const { body } = await server.request('GET', `/v1/uploads?state=open&task=resume-${task}`)
    const id = /"id":"([0-9a-f-]{36})"/.exec(JSON.stringify(body))?.[1]
    await server.request('DELETE', `/v1/uploads/${id}`)
    const { artifact } = await send()
    expect(artifact).toMatchObject({ run: 0, sha256: sha256Of(bytes) })
  })

  it('finishes an upload whose seal got lost', async () => {
    const bytes = await writeBytes(work.at('file'), SIZE, `resume ${task}`)
    const controller = new AbortController()
    proxy.fault = (request) => {
      if (!request.path.endsWith('/seal')) return undefined
      controller.abort()
      return { kind: 'lose-reply' }
    }
    await expect(send(controller.signal)).rejects.toMatchObject({ code: 'interrupted' })
    proxy.fault = () => undefined
    proxy.seen.length = 0
    const { artifact } = await send()
    expect(artifact).toMatchObject({ run: 0, sha256: sha256Of(bytes) })
    expect(proxy.seen.filter(isPartPut)).toEqual([])
  })

  it('aborts the upload of a stream, which cannot be read again', async () => {
    async function* endless() {
      for (;;) yield Buffer.alloc(PART)
    }
    const signal = interruptAfter(5, isPartPut)
    await expect(
      upload(
        connection,
        { stream: endless() },
        { task: `resume-${task}`, name: 'stream' },
        { signal, journal: journalOf(), concurrency: 1 },
      ),
    ).rejects.toMatchObject({ code: 'interrupted', message: expect.stringContaining('nothing') })
    expect(await countUploads('open')).toBe(0)
    expect(await countUploads('aborted')).toBe(1)
  })
})

describe('upload() of what does not hold still', () => {
  it('seals nothing of a file that changes while it is read', async () => {
    await writeBytes(work.at('file'), 20 * PART)
    proxy.fault = (request) => {
      if (isPartPut(request)) void writeFile(work.at('file'), 'short')
      return undefined
    }
    await expect(
      upload(connection, { file: work.at('file') }, { task: `resume-${task}` }, { memoryBytes }),
    ).rejects.toMatchObject({ code: 'source_changed' })
    expect(await countUploads('sealed')).toBe(0)
    expect(await countUploads('open')).toBe(0)
  })

  it('seals nothing of a stream that fails', async () => {
    async function* failing() {
      yield Buffer.alloc(10 * PART)
      throw new Error('disk on fire')
    }
    await expect(
      upload(connection, { stream: failing() }, { task: `resume-${task}`, name: 'x' }),
    ).rejects.toMatchObject({ code: 'local_io', message: expect.stringContaining('disk on fire') })
    expect(await countUploads('sealed')).toBe(0)
    expect(await countUploads('open')).toBe(0)
  })

  it.each([3n, 5n])('seals nothing of a stream that is not %i bytes long as it said', async (n) => {
    async function* four() {
      yield Buffer.from('four')
    }
    await expect(
      upload(connection, { stream: four(), sizeBytes: n }, { task: `resume-${task}`, name: 'x' }),
    ).rejects.toMatchObject({ code: 'size_mismatch' })
    expect(await countUploads('sealed')).toBe(0)
  })
})

describe('get() again after an interruption', () => {
  const SIZE = PARTS * PART + 17

  async function interrupted(): Promise<Buffer> {
    const bytes = await writeBytes(work.at('file'), SIZE, `resume ${task}`)
    await upload(connection, { file: work.at('file') }, { task: `resume-${task}`, run: 0 })
    await mkdir(work.at('in'))
    const signal = interruptAfter(5, isBlobGet)
    await expect(receive(signal)).rejects.toMatchObject({ code: 'interrupted' })
    proxy.fault = () => undefined
    proxy.seen.length = 0
    return bytes
  }
  const receive = (signal?: AbortSignal) =>
    get(
      connection,
      { task: `resume-${task}`, run: 'latest', name: 'file' },
      { output: work.at('in', 'out'), signal, concurrency: 1 },
    )
  const findQuarantine = async () => {
    const names = await readdir(work.at('in'))
    expect(names).toEqual([expect.stringMatching(/^\.out\.[0-9a-f]{12}\.artifact-partial$/)])
    return work.at('in', names[0] ?? '')
  }

  it('keeps what is verified, and fetches only the rest', async () => {
    const bytes = await interrupted()
    expect((await stat(await findQuarantine())).mode & 0o777).toBe(0o600)
    const result = await receive()
    expect(result.resumedBytes).toBeGreaterThanOrEqual(BigInt(3 * PART))
    expect(proxy.seen.filter(isBlobGet).length).toBeLessThanOrEqual(PARTS + 1 - 3)
    expect(await readFile(work.at('in', 'out'))).toEqual(bytes)
    expect(await readdir(work.at('in'))).toEqual(['out'])
  })

  it('fetches again only the kept part that was spoiled meanwhile', async () => {
    const bytes = await interrupted()
    const quarantine = await findQuarantine()
    const kept = await readFile(quarantine)
    kept[PART + 3] = (kept[PART + 3] ?? 0) ^ 1
    await writeFile(quarantine, kept)
    const result = await receive()
    expect(result.resumedBytes).toBe(BigInt((Math.floor(kept.length / PART) - 1) * PART))
    expect(await readFile(work.at('in', 'out'))).toEqual(bytes)
  })

  it('starts from nothing when the quarantine is not its own', async () => {
    const bytes = await interrupted()
    const quarantine = await findQuarantine()
    await rm(quarantine)
    await writeFile(quarantine, bytes, { mode: 0o666 })
    const result = await receive()
    expect(result.resumedBytes).toBe(0n)
    expect(await readFile(work.at('in', 'out'))).toEqual(bytes)
  })

  it('cuts off what lies behind the end', async () => {
    const bytes = await interrupted()
    const quarantine = await findQuarantine()
    await writeFile(quarantine, Buffer.concat([bytes, Buffer.alloc(PART)]))
    await receive()
    expect(await readFile(work.at('in', 'out'))).toEqual(bytes)
  })

  it('tells a second one that the first is at it', async () => {
    await writeBytes(work.at('file'), SIZE, `resume ${task}`)
    await upload(connection, { file: work.at('file') }, { task: `resume-${task}`, run: 0 })
    await mkdir(work.at('in'))
    const { promise: isFetching, resolve } = Promise.withResolvers<void>()
    const controller = new AbortController()
    proxy.fault = (request) => {
      if (!isBlobGet(request)) return undefined
      resolve()
      return { kind: 'stall-request' }
    }
    const first = receive(controller.signal)
    const outcome = expect(first).rejects.toMatchObject({ code: 'interrupted' })
    await isFetching
    await expect(receive()).rejects.toMatchObject({ code: 'locked' })
    controller.abort()
    await outcome
    expect(await readdir(work.at('in'))).toEqual([])
  })

  it('names each part of the store once', async () => {
    const bytes = await interrupted()
    await receive()
    expect(new Set(proxy.seen.filter(isBlobGet).map(partOf)).size).toBe(1)
    expect(await readFile(work.at('in', 'out'))).toEqual(bytes)
  })
})
