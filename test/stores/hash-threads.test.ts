/** Threads that hash files: digests, turns, faults, and their own beginning and end. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type FileHandle, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { FileToHash } from '../../server/stores/file-hash-thread.ts'
import { createHashThreads, type HashThreadSettings } from '../../server/stores/hash-threads.ts'
import { makeBytes } from '../support/content.ts'

const READ_BYTES = 1024 ** 2
const bytes = makeBytes(4 * READ_BYTES + 7)
const PROGRAM = { name: 'file-hash-thread' }
const ignore = { onProgress: async () => undefined }

let folder: string
let handle: FileHandle
/** Every thread that was started since the test began. */
let started: Worker[]
const note = (worker: Worker) => void started.push(worker)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'artifact-hash-'))
  await writeFile(join(folder, 'file'), bytes)
  handle = await open(join(folder, 'file'), 'r')
})
afterAll(async () => {
  await handle.close()
  await rm(folder, { recursive: true })
})
beforeEach(() => {
  started = []
  process.on('worker', note)
})
afterEach(() => {
  process.off('worker', note)
})

const sha256Of = (part: Uint8Array) => createHash('sha256').update(part).digest('hex')

/** Every read of theirs is a stretch of its own. */
const openThreads = (settings: Partial<HashThreadSettings> = {}) =>
  createHashThreads<FileToHash>(PROGRAM, { stretchMs: 0, threadsMax: 2, ...settings })

const sizes = [0, 1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, bytes.length]

describe('hash()', () => {
  it.each(sizes)('gives the digest of %i bytes, and tells how far it is', async (sizeBytes) => {
    await using threads = openThreads()
    const heard: bigint[] = []
    const onProgress = async (seen: bigint) => void heard.push(seen)
    expect(await threads.hash({ fd: handle.fd, sizeBytes }, { onProgress })).toEqual({
      sizeBytes,
      sha256: sha256Of(bytes.subarray(0, sizeBytes)),
    })
    expect(heard.at(-1)).toBe(BigInt(sizeBytes))
    expect(heard.length).toBeGreaterThanOrEqual(Math.ceil(sizeBytes / READ_BYTES))
  })

  it('says how far a file went that ends before', async () => {
    await using threads = openThreads()
    const found = await threads.hash({ fd: handle.fd, sizeBytes: bytes.length + 1 }, ignore)
    expect(found).toEqual({ sizeBytes: bytes.length, sha256: sha256Of(bytes) })
  })

  it('takes more files than threads in turns, each with its own digest', async () => {
    await using threads = openThreads()
    const order: number[] = []
    const counts = [5, 4, 3, 2, 1]
    const all = await Promise.all(
      counts.map(async (reads) => {
        const sizeBytes = reads * READ_BYTES
        const found = await threads.hash({ fd: handle.fd, sizeBytes }, ignore)
        order.push(reads)
        return found
      }),
    )
    expect(all.map((found) => found?.sha256)).toEqual(
      counts.map((reads) => sha256Of(bytes.subarray(0, reads * READ_BYTES))),
    )
    expect(started).toHaveLength(2)
    // The shortest one does not wait for those that came before it.
    expect(order.indexOf(1)).toBeLessThan(order.indexOf(5))
  })

  it('waits for whoever hears of the progress, and fails with what he throws', async () => {
    await using threads = openThreads()
    let heard = 0
    const onProgress = async () => {
      heard += 1
      if (heard === 2) throw new Error('lease lost')
    }
    const file = { fd: handle.fd, sizeBytes: bytes.length }
    await expect(threads.hash(file, { onProgress })).rejects.toThrow('lease lost')
    expect(heard).toBe(2)
    expect(await threads.hash(file, ignore)).toMatchObject({ sha256: sha256Of(bytes) })
    expect(started).toHaveLength(1)
  })

  it('stops when it is told to, before and in the middle', async () => {
    await using threads = openThreads()
    const stop = new AbortController()
    const file = { fd: handle.fd, sizeBytes: bytes.length }
    const onProgress = async () => stop.abort(new Error('enough'))
    await expect(threads.hash(file, { onProgress, signal: stop.signal })).rejects.toThrow('enough')
    await expect(threads.hash(file, { ...ignore, signal: stop.signal })).rejects.toThrow('enough')
  })

  it('throws what reading throws, with its code, and goes on with other files', async () => {
    await using threads = openThreads()
    await using directory = await open(folder, 'r')
    await expect(threads.hash({ fd: directory.fd, sizeBytes: 1 }, ignore)).rejects.toMatchObject({
      code: 'EISDIR',
    })
    const file = { fd: handle.fd, sizeBytes: bytes.length }
    expect(await threads.hash(file, ignore)).toMatchObject({ sha256: sha256Of(bytes) })
    expect(started).toHaveLength(1)
  })

  it('fails as a store that is not there when its thread dies, and has a new one the next time', async () => {
    await using threads = openThreads()
    const file = { fd: handle.fd, sizeBytes: bytes.length }
    const onProgress = async () => void (await started[0]?.terminate())
    await expect(threads.hash(file, { onProgress })).rejects.toMatchObject({
      code: 'store_unavailable',
    })
    expect(await threads.hash(file, ignore)).toMatchObject({ sha256: sha256Of(bytes) })
    expect(started).toHaveLength(2)
  })
})

describe('createHashThreads()', () => {
  it('leaves alone what is small, and starts nothing for it', async () => {
    await using threads = openThreads({ fromBytes: 1000n })
    expect([999n, 1000n].map((sizeBytes) => threads.takes(sizeBytes))).toEqual([false, true])
    expect(started).toEqual([])
  })

  it('ends a thread that has nothing to do, and says when none is left', async () => {
    const none = Promise.withResolvers<void>()
    const program = { ...PROGRAM, onNoneLeft: none.resolve }
    await using threads = createHashThreads<FileToHash>(program, { idleMs: 0 })
    await threads.hash({ fd: handle.fd, sizeBytes: 1 }, ignore)
    const [worker] = started
    if (worker === undefined) throw new Error('no thread was started')
    await Promise.all([once(worker, 'exit'), none.promise])
    expect(await threads.hash({ fd: handle.fd, sizeBytes: 0 }, ignore)).toBeDefined()
    expect(started).toHaveLength(2)
  })

  it('ends its threads when it is disposed of, and fails what they were at', async () => {
    const threads = openThreads()
    const file = { fd: handle.fd, sizeBytes: bytes.length }
    const onProgress = async () => void (await threads[Symbol.asyncDispose]())
    await expect(threads.hash(file, { onProgress })).rejects.toMatchObject({
      code: 'store_unavailable',
    })
    expect(started.map(({ threadId }) => threadId)).toEqual([-1])
  })
})
