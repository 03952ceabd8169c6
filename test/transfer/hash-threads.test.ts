/** Uploads whose digests come from threads: whatever happens, they end as they would without. */
import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { connect, get, upload, verifyFile } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { hashFile } from '../../client/transfer/hash-file.ts'
import type { ThreadCount } from '../../client/transfer/spread-hasher.ts'
import type { UploadOptions } from '../../client/transfer/upload-job.ts'
import { sha256Of } from '../../client/verify/digest.ts'
import { MIB, writeBytes } from '../support/content.ts'
import { type FaultProxy, type SeenRequest, startFaultProxy } from '../support/fault-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { type ThreadWatch, watchThreads } from '../support/threads.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const PART = 65_536
const SIZE = 40 * PART - 100
const THREADS: readonly ThreadCount[] = [1, 2]

let server: TestServer
let proxy: FaultProxy
let connection: Connection
let work: WorkFolder
let watch: ThreadWatch
let bytes: Buffer
let count = 0
let target: { task: string; run: number; name: string }

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
    timing: { retryFirstMs: 1, retryMaxMs: 5, slowMs: 600_000, farMs: 600_000 },
  })
  watch = watchThreads()
  target = { task: 'threads', run: 0, name: `file-${count++}` }
  bytes = await writeBytes(work.at('file'), SIZE, target.name)
})
afterEach(async () => {
  watch[Symbol.dispose]()
  await connection[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
  await work[Symbol.asyncDispose]()
})

const isPartPut = ({ method, path }: SeenRequest) => method === 'PUT' && path.includes('/blobs/')
const send = (options: UploadOptions) =>
  upload(connection, { file: work.at('file') }, target, options)
const findSealed = async () => {
  const { task, run, name } = target
  const { status } = await server.request('GET', `/v1/tasks/${task}/runs/${run}/artifacts/${name}`)
  return status
}

async function* streamBytes(chunkBytes: number) {
  for (let offset = 0; offset < bytes.length; offset += chunkBytes)
    yield bytes.subarray(offset, offset + chunkBytes)
}

describe.each(THREADS)('upload() with %i threads that hash', (hashThreads) => {
  it('sends what is in the file, and ends its threads', async () => {
    const { artifact } = await send({ hashThreads })
    expect(artifact).toMatchObject({ sha256: sha256Of(bytes), partCount: 40 })
    expect(watch.started).toHaveLength(hashThreads)
    expect(watch.countRunning()).toBe(0)
    await get(connection, target, { output: work.at('copy') })
    expect(await readFile(work.at('copy'))).toEqual(bytes)
  })

  it('reads a file twice where no memory is for its parts', async () => {
    const { artifact } = await send({ hashThreads, memoryBytes: PART })
    expect(artifact.sha256).toBe(sha256Of(bytes))
    expect(proxy.seen.filter(isPartPut)).toHaveLength(40)
    expect(watch.countRunning()).toBe(0)
  })

  it.each([
    ['of unknown size', undefined],
    ['of a size that it says', BigInt(SIZE)],
  ])('sends a stream %s', async (_, sizeBytes) => {
    const source = { stream: streamBytes(10_000), sizeBytes }
    const { artifact } = await upload(connection, source, target, { hashThreads })
    expect(artifact).toMatchObject({ sha256: sha256Of(bytes), sizeBytes: String(SIZE) })
    expect(watch.started).toHaveLength(hashThreads)
    expect(watch.countRunning()).toBe(0)
  })

  it('sends a stream of unknown size where there is memory for one part', async () => {
    const sendStream = (name: string, memoryBytes?: number) => {
      const options = { hashThreads, memoryBytes }
      return upload(connection, { stream: streamBytes(10_000) }, { ...target, name }, options)
    }
    const { artifact: first } = await sendStream(`${target.name}-much`)
    expect(first.partCount).toBeGreaterThan(1)
    const { artifact } = await sendStream(`${target.name}-little`, first.partSizeBytes)
    expect(artifact.sha256).toBe(sha256Of(bytes))
  })

  it('sends a part again from the memory that it was hashed in', async () => {
    const spoilt = new Set<string>()
    proxy.fault = (request) => {
      const isFirst = isPartPut(request) && !spoilt.has(request.path.split('?')[0] ?? '')
      if (!isFirst) return undefined
      spoilt.add(request.path.split('?')[0] ?? '')
      return spoilt.size % 2 === 0 ? { kind: 'flip-request', atByte: 9 } : { kind: 'lose-reply' }
    }
    const { artifact } = await send({ hashThreads, memoryBytes: 3 * PART })
    expect(artifact.sha256).toBe(sha256Of(bytes))
  })

  it('goes on where an interrupted upload stopped, and leaves no thread behind', async () => {
    const controller = new AbortController()
    let come = 0
    proxy.fault = (request) => {
      if (!isPartPut(request) || ++come <= 12) return undefined
      controller.abort(new Error('Ctrl-C'))
      return { kind: 'stall-request' }
    }
    const options = { hashThreads, memoryBytes: 3 * PART, journal: work.at('journal') }
    await expect(send({ ...options, signal: controller.signal })).rejects.toMatchObject({
      code: 'interrupted',
    })
    expect(watch.countRunning()).toBe(0)
    proxy.fault = () => undefined
    proxy.seen.length = 0
    const result = await send(options)
    expect(result).toMatchObject({ outcome: 'sealed', resumed: true })
    expect(result.artifact.sha256).toBe(sha256Of(bytes))
    expect(proxy.seen.filter(isPartPut).length).toBeLessThanOrEqual(30)
    expect(watch.countRunning()).toBe(0)
  })

  it('hashes on threads, and sends nothing, when it is sealed already', async () => {
    const options = { hashThreads, memoryBytes: 3 * PART }
    await send(options)
    proxy.seen.length = 0
    expect(await send(options)).toMatchObject({ outcome: 'already-sealed', sentBytes: 0n })
    expect(proxy.seen.filter(isPartPut)).toEqual([])
    expect(watch.started).toHaveLength(2 * hashThreads)
    expect(watch.countRunning()).toBe(0)
  })
})

describe('upload() whose thread ends', () => {
  it.each([
    ['at once', 0, 0],
    ['at once', 1, 0],
    ['while parts go out', 0, 10],
    ['while parts go out', 1, 10],
  ])(
    'seals nothing, says why, and can be called again: %s, thread %i',
    async (_, victim, after) => {
      let come = 0
      const ended = Promise.withResolvers<void>()
      watch.onStart = (thread) => {
        if (after === 0 && thread === watch.started[victim]) void thread.terminate()
      }
      proxy.fault = (request) => {
        if (after === 0 || !isPartPut(request) || ++come < after) return undefined
        void watch.started[victim]?.terminate().then(() => ended.resolve())
        return { kind: 'wait', until: ended.promise }
      }
      const options = {
        hashThreads: 2,
        memoryBytes: 3 * PART,
        journal: work.at('journal'),
      } as const
      await expect(send(options)).rejects.toMatchObject({
        code: 'local_io',
        message: 'Cannot hash: the thread for it has ended',
      })
      expect(watch.countRunning()).toBe(0)
      expect(await findSealed()).toBe(404)
      watch.onStart = () => undefined
      proxy.fault = () => undefined
      expect(await send(options)).toMatchObject({ outcome: 'sealed', resumed: true })
    },
  )
})

describe.each([0, ...THREADS] as const)('hashFile() with %i threads', (hashThreads) => {
  const hash = (partSizeBytes: number, signal = new AbortController().signal) =>
    hashFile(work.at('file'), {
      reference: 't/0/n',
      partSizeBytes,
      checkSize: () => undefined,
      signal,
      hashThreads,
    })

  it.each([1, MIB - 1, MIB, MIB + 1, 6 * MIB, 6 * MIB + 1])(
    'tells the digests of a file of %i bytes',
    async (sizeBytes) => {
      bytes = await writeBytes(work.at('file'), sizeBytes, `hash ${sizeBytes}`)
      for (const partSizeBytes of [MIB - 7, MIB, 5 * MIB]) {
        const { sha256, parts } = await hash(partSizeBytes)
        expect(sha256).toBe(sha256Of(bytes))
        const found = parts.map(({ number, sizeBytes: size }) =>
          sha256Of(bytes.subarray((number - 1) * partSizeBytes).subarray(0, size)),
        )
        expect(parts.map((part) => part.sha256)).toEqual(found)
        expect(parts).toHaveLength(Math.ceil(sizeBytes / partSizeBytes))
      }
      expect(watch.countRunning()).toBe(0)
    },
  )

  it('knows a file without a byte', async () => {
    await writeBytes(work.at('file'), 0)
    expect(await hash(0)).toMatchObject({
      sizeBytes: 0n,
      sha256: sha256Of(Buffer.alloc(0)),
      parts: [],
    })
  })

  it('stops when it is told to', async () => {
    const stopped = AbortSignal.abort(new Error('Ctrl-C'))
    await expect(hash(PART, stopped)).rejects.toMatchObject({ code: 'interrupted' })
    expect(watch.countRunning()).toBe(0)
  })
})

it('takes both threads to verify a large file, unless there is one core', async () => {
  bytes = await writeBytes(work.at('file'), 64 * MIB, 'large')
  const { artifact } = await send({})
  expect(artifact.sha256).toBe(sha256Of(bytes))
  // The server has threads of its own.
  using verifying = watchThreads()
  const result = await verifyFile(connection, work.at('file'), target)
  expect(result.checks).toContain('sha256')
  expect(verifying.started).toHaveLength(availableParallelism() === 1 ? 0 : 2)
  expect(verifying.countRunning()).toBe(0)
})
