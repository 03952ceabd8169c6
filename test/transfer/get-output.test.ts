import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { PassThrough, Writable } from 'node:stream'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Artifact, connect, get, upload } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { writeBytes } from '../support/content.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const PART = 65_536

let server: TestServer
let proxy: FaultProxy
let connection: Connection
let work: WorkFolder
let bytes: Buffer
let artifact: Artifact

beforeAll(async () => {
  server = await startTestServer()
  proxy = await startFaultProxy(server.url)
  connection = connect({
    url: proxy.url,
    token: server.token,
    timing: { retryFirstMs: 1, retryMaxMs: 5, farMs: 600_000 },
  })
  await using source = await makeWorkFolder()
  bytes = await writeBytes(source.at('file'), 5 * PART + 1)
  const target = { task: 'output', run: 0, name: 'deep/file' }
  artifact = (await upload(connection, { file: source.at('file') }, target)).artifact
})
afterAll(async () => {
  await connection[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})
beforeEach(async () => {
  work = await makeWorkFolder()
  proxy.fault = () => undefined
  return () => work[Symbol.asyncDispose]()
})

describe('get()', () => {
  it('puts the file into a folder under the last segment of its name', async () => {
    await mkdir(work.at('folder'))
    const { path } = await get(connection, artifact, { output: work.at('folder') })
    expect(path).toBe(work.at('folder', 'file'))
    expect(await readFile(work.at('folder', 'file'))).toEqual(bytes)
  })

  it.each([
    ['held in memory', 64 * PART],
    ['spooled', PART],
  ])('gives a slow stream all bytes, in order, each once (%s)', async (_, memoryBytes) => {
    const taken: Buffer[] = []
    const output = new Writable({
      highWaterMark: 1,
      write(chunk: Buffer, _encoding, done) {
        // Kept as it is: the memory behind it must not be used again.
        taken.push(chunk)
        setImmediate(done)
      },
    })
    const options = { output, memoryBytes, spoolFolder: work.path }
    const { path } = await get(connection, artifact, options)
    expect(path).toBeUndefined()
    expect(Buffer.concat(taken)).toEqual(bytes)
    expect(output.writableEnded).toBe(false)
    expect(await readdir(work.path)).toEqual([])
  })

  it('gives a stream nothing before the whole is verified, when told to spool', async () => {
    const output = new PassThrough({ highWaterMark: 16 * PART })
    const told: number[] = []
    const result = await get(connection, artifact, {
      output,
      spool: true,
      spoolFolder: work.path,
      onProgress: ({ settledBytes }) => {
        if (settledBytes < BigInt(bytes.length)) told.push(output.readableLength)
      },
    })
    expect(new Set(told)).toEqual(new Set([0]))
    expect(result.receivedBytes).toBe(BigInt(bytes.length))
    output.end()
    expect(Buffer.concat(await output.toArray())).toEqual(bytes)
  })

  it('says that the reader is gone when a pipe breaks', async () => {
    const reader = spawn('head', ['-c', '10'], { stdio: ['pipe', 'ignore', 'ignore'] })
    const ended = once(reader, 'exit')
    // More and more would go through it; the reader takes ten bytes.
    const endless = async () => {
      for (;;) await get(connection, artifact, { output: reader.stdin })
    }
    await expect(endless()).rejects.toMatchObject({
      code: 'local_io',
      message: expect.stringContaining('reader is gone'),
    })
    await ended
  })

  it('keeps verified parts after a failure when told to', async () => {
    proxy.fault = ({ headers }) =>
      headers.range?.startsWith(`bytes=${4 * PART}-`)
        ? { kind: 'flip-reply', atByte: 0 }
        : undefined
    const options = { output: work.at('out'), concurrency: 1 }
    await expect(
      get(connection, artifact, { ...options, keepPartial: true }),
    ).rejects.toMatchObject({ code: 'part_mismatch' })
    const [kept = ''] = await readdir(work.path)
    expect(await readFile(work.at(kept))).toEqual(bytes.subarray(0, 4 * PART))
    proxy.fault = () => undefined
    const { resumedBytes } = await get(connection, artifact, options)
    expect(resumedBytes).toBe(BigInt(4 * PART))
    expect(await readFile(work.at('out'))).toEqual(bytes)
  })

  it('finds nothing under another name, nor without a token', async () => {
    const other = { ...artifact, name: 'other' }
    await expect(get(connection, other, { output: work.at('out') })).rejects.toMatchObject({
      code: 'not_found',
    })
    await using stranger = connect({ url: server.url })
    const error = await get(stranger, artifact, { output: work.at('out') }).catch(
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({ code: expect.stringMatching(/^(not_found|unauthenticated)$/) })
    expect(await readdir(work.path)).toEqual([])
  })
})
