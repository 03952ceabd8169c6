import { readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect, get, type TransferProgress, upload, verifyFile } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { sha256Of } from '../../client/verify/digest.ts'
import { makeBytes, writeBytes } from '../support/content.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const PART = 65_536

let server: TestServer
let connection: Connection
let work: WorkFolder

beforeAll(async () => {
  server = await startTestServer()
  connection = connect({ url: server.url, token: server.token })
  work = await makeWorkFolder()
})

afterAll(async () => {
  await connection[Symbol.asyncDispose]()
  await work[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

describe('upload() and get()', () => {
  const sizes = [0, 1, PART - 1, PART, PART + 1, 3 * PART, 7 * PART + 123]

  it.each(sizes)('brings %i bytes back as they were', async (sizeBytes) => {
    const bytes = await writeBytes(work.at(`in-${sizeBytes}`), sizeBytes)
    const sent = await upload(connection, { file: work.at(`in-${sizeBytes}`) }, { task: 'sizes' })
    expect(sent.outcome).toBe('sealed')
    expect(sent.artifact).toMatchObject({
      sha256: sha256Of(bytes),
      sizeBytes: String(sizeBytes),
      partCount: Math.ceil(sizeBytes / PART),
    })
    const got = await get(connection, sent.artifact, { output: work.at(`out-${sizeBytes}`) })
    expect(await readFile(work.at(`out-${sizeBytes}`))).toEqual(bytes)
    expect(got.checks).toEqual(['record', 'size', 'parts', 'sha256'])
    expect((await readdir(work.path)).filter((name) => name.startsWith('.'))).toEqual([])
  })

  it('sends identical parts each under its own number', async () => {
    const bytes = Buffer.alloc(4 * PART, 7)
    await writeFile(work.at('same'), bytes)
    const { artifact } = await upload(connection, { file: work.at('same') }, { task: 'same' })
    const output = new PassThrough({ highWaterMark: 16 * PART })
    await get(connection, artifact, { output })
    output.end()
    expect(Buffer.concat(await output.toArray())).toEqual(bytes)
  })

  it('takes a stream of unknown size', async () => {
    const bytes = makeBytes(9 * PART + 5, 'stream')
    async function* chunks() {
      for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000)
    }
    const { artifact } = await upload(
      connection,
      { stream: chunks() },
      { task: 'stream', name: 'piped' },
    )
    expect(artifact.sha256).toBe(sha256Of(bytes))
    await get(connection, artifact, { output: work.at('piped') })
    expect(sha256Of(await readFile(work.at('piped')))).toBe(artifact.sha256)
  })

  it('stays within a small memory by reading the file twice', async () => {
    const bytes = await writeBytes(work.at('lean'), 5 * PART + 9)
    const memoryBytes = PART
    const { artifact } = await upload(
      connection,
      { file: work.at('lean') },
      { task: 'lean', run: 0 },
      { memoryBytes },
    )
    expect(artifact.sha256).toBe(sha256Of(bytes))
    await get(connection, artifact, { output: work.at('lean-out'), memoryBytes })
    expect(await readFile(work.at('lean-out'))).toEqual(bytes)
  })

  it('tells progress that ends with everything settled', async () => {
    const told: TransferProgress[] = []
    const bytes = await writeBytes(work.at('told'), 20 * PART)
    const onProgress = (progress: TransferProgress) => void told.push(progress)
    const { artifact } = await upload(
      connection,
      { file: work.at('told') },
      { task: 'told' },
      { onProgress },
    )
    expect(new Set(told.map((one) => one.phase))).toEqual(new Set(['sending', 'verifying']))
    const sent = told.filter((one) => one.phase === 'sending').at(-1)
    expect(sent?.settledBytes).toBe(BigInt(bytes.length))
    told.length = 0
    await get(connection, artifact, { output: work.at('told-out'), onProgress })
    expect(told.at(-1)).toMatchObject({
      phase: 'receiving',
      bytes: BigInt(bytes.length),
      settledBytes: BigInt(bytes.length),
      totalBytes: BigInt(bytes.length),
      reference: artifact.reference,
    })
  })

  it('finds the same content sealed already, and refuses other content', async () => {
    const bytes = await writeBytes(work.at('again'), 3 * PART)
    const target = { task: 'again', run: 0, name: 'x' }
    await upload(connection, { file: work.at('again') }, target)
    const again = await upload(connection, { file: work.at('again') }, target)
    expect(again).toMatchObject({ outcome: 'already-sealed', sentBytes: 0n })
    bytes[0] = (bytes[0] ?? 0) ^ 1
    await writeFile(work.at('again'), bytes)
    await expect(upload(connection, { file: work.at('again') }, target)).rejects.toMatchObject({
      code: 'already_sealed',
    })
  })

  it('seals nothing but the expected content', async () => {
    await writeBytes(work.at('expected'), 3 * PART)
    const target = { task: 'expected', run: 0, name: 'x' }
    const expectSha256 = '0'.repeat(64)
    await expect(
      upload(connection, { file: work.at('expected') }, target, { expectSha256 }),
    ).rejects.toMatchObject({ code: 'digest_mismatch', expected: expectSha256 })
    await expect(
      get(connection, target, { output: work.at('expected-out') }),
    ).rejects.toMatchObject({ code: 'not_found' })
  })

  it('reads through a link only when told to', async () => {
    await writeBytes(work.at('linked'), 10)
    await symlink(work.at('linked'), work.at('link'))
    await expect(
      upload(connection, { file: work.at('link') }, { task: 'l' }),
    ).rejects.toMatchObject({
      code: 'unsafe_path',
    })
    const { artifact } = await upload(
      connection,
      { file: work.at('link') },
      { task: 'l' },
      { followLinks: true },
    )
    expect(artifact).toMatchObject({ name: 'link', sizeBytes: '10' })
    await expect(upload(connection, { file: work.path }, { task: 'l' })).rejects.toMatchObject({
      code: 'unsafe_path',
    })
  })

  it('keeps a target that is there, unless forced', async () => {
    await writeBytes(work.at('source'), 2 * PART)
    const { artifact } = await upload(connection, { file: work.at('source') }, { task: 'force' })
    await writeFile(work.at('target'), 'mine')
    await expect(get(connection, artifact, { output: work.at('target') })).rejects.toMatchObject({
      code: 'target_exists',
    })
    expect(await readFile(work.at('target'), 'utf8')).toBe('mine')
    await get(connection, artifact, { output: work.at('target'), force: true })
    expect((await stat(work.at('target'))).size).toBe(2 * PART)
    expect((await stat(work.at('target'))).mode & 0o777).toBe(0o666 & ~process.umask())
  })

  it('checks a local file against the record', async () => {
    const bytes = await writeBytes(work.at('local'), 4 * PART)
    const { artifact } = await upload(connection, { file: work.at('local') }, { task: 'local' })
    const { checks } = await verifyFile(connection, work.at('local'), artifact)
    expect(checks).toContain('sha256')
    bytes[2 * PART] = (bytes[2 * PART] ?? 0) ^ 1
    await writeFile(work.at('local'), bytes)
    await expect(verifyFile(connection, work.at('local'), artifact)).rejects.toMatchObject({
      code: 'part_mismatch',
      message: expect.stringContaining('part 3'),
    })
    await writeFile(work.at('local'), bytes.subarray(1))
    await expect(verifyFile(connection, work.at('local'), artifact)).rejects.toMatchObject({
      code: 'size_mismatch',
    })
  })
})
