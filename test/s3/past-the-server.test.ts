/**
 * How many bytes the server itself moves while artifacts travel between a client and the bucket, by
 * the kernel's count of everything it reads and writes: sockets to clients, bucket and Postgres, files.
 */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type MovedBytes, readMovedBytes } from '../bench/process-tree.ts'
import { getTestS3 } from '../support/ceph.ts'
import { type Cli, openCli } from '../support/cli.ts'
import { MIB, writeBytes } from '../support/content.ts'
import { createRealDatabase } from '../support/real-database.ts'
import { openS3Site, type S3Site } from '../support/s3-site.ts'
import type { ServeProcess } from '../support/serve-process.ts'

const PART_BYTES = 5 * MIB
const SIZE_BYTES = 8 * PART_BYTES
/** What a stream had brought into memory when it was given up for pieces side by side. */
const DROPPED_BYTES = 4 * MIB
/** Requests, grants, reports, events and log lines of one upload and one get. */
const TALK_BYTES = MIB

let stack: AsyncDisposableStack
let s3: S3Site
let server: ServeProcess
let cli: Cli

beforeAll(async () => {
  stack = new AsyncDisposableStack()
  const parts = { ...stack.use(await createRealDatabase()), s3: getTestS3() }
  s3 = stack.use(await openS3Site(parts, { 'part-size-bytes': String(PART_BYTES) }))
  server = stack.use(await s3.site.serve())
  cli = stack.use(await openCli({ url: s3.site.url, token: s3.site.token }))
  // What a server loads and opens for its first upload and its first get.
  await carry('first/0', 2 * PART_BYTES)
})
afterAll(() => stack.disposeAsync())

/** Uploads and gets new bytes; returns what the server moved meanwhile. */
async function carry(
  run: string,
  sizeBytes: number,
  ...words: string[]
): Promise<Record<'upload' | 'get', MovedBytes>> {
  const bytes = await writeBytes(join(cli.folder, 'big'), sizeBytes, run)
  const upload = await measure(['upload', 'big', run, ...words])
  const get = await measure(['get', `${run}/big`, '-o', 'copy', '--verify', '--force'])
  expect((await readFile(join(cli.folder, 'copy'))).equals(bytes)).toBe(true)
  return { upload, get }
}

async function measure(words: readonly string[]): Promise<MovedBytes> {
  const pid = server.child.pid ?? 0
  const before = readMovedBytes(pid)
  expect(await cli.run(words)).toMatchObject({ exit: 0 })
  const after = readMovedBytes(pid)
  return { read: after.read - before.read, written: after.written - before.written }
}

describe('a server on a bucket', () => {
  it('moves no byte of an artifact whose parts the bucket has checked', async () => {
    const { upload, get } = await carry('parts/0', SIZE_BYTES, '--policy', 'parts')
    for (const moved of [upload, get]) {
      expect(moved.read).toBeLessThan(TALK_BYTES)
      expect(moved.written).toBeLessThan(TALK_BYTES)
    }
  })

  it('reads an artifact once before it seals it, and sends none of it', async () => {
    const { upload, get } = await carry('reread/0', SIZE_BYTES, '--policy', 'reread')
    expect(upload.read).toBeGreaterThan(SIZE_BYTES)
    expect(upload.read).toBeLessThan(SIZE_BYTES + DROPPED_BYTES + TALK_BYTES)
    for (const bytes of [upload.written, get.read, get.written])
      expect(bytes).toBeLessThan(TALK_BYTES)
  })

  it('carries small artifacts in batches itself, both ways', async () => {
    const count = 40
    const each = 32_768
    await mkdir(join(cli.folder, 'small'))
    for (let index = 0; index < count; index++)
      await writeBytes(join(cli.folder, 'small', `${index}`), each, `small ${index}`)
    const upload = await measure(['upload', 'small', 'small/0'])
    expect(upload.read).toBeGreaterThan(count * each)
    expect(upload.written).toBeGreaterThan(count * each)
    const get = await measure(['get', 'small/0', '-o', 'back', '--verify'])
    for (const bytes of [get.read, get.written]) expect(bytes).toBeGreaterThan(count * each)
  })
})
