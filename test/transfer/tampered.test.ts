import { chmod, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Artifact, ArtifactError, connect, get, getRun, upload } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { EXITS } from '../../schemas/problems.ts'
import { makeBytes } from '../support/content.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

/** Three parts, the last one short; small enough to try every bit of it. */
const PART = 16
const SIZE = 40

let server: TestServer
let connection: Connection
let work: WorkFolder

beforeAll(async () => {
  server = await startTestServer({ settings: { partSizeBytes: String(PART) } })
  connection = connect({
    url: server.url,
    token: server.token,
    timing: { retryFirstMs: 1, retryMaxMs: 2, farMs: 600_000 },
  })
})
afterAll(async () => {
  await connection[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})
beforeEach(async () => {
  work = await makeWorkFolder()
  return () => work[Symbol.asyncDispose]()
})

/** Seals some bytes; where the store has them is answered too. */
async function sealBytes(task: string, bytes: Uint8Array) {
  await writeFile(work.at('in'), bytes)
  const { artifact } = await upload(connection, { file: work.at('in') }, { task })
  return { artifact, stored: await findStored(artifact) }
}

async function findStored({ uploadId }: Artifact): Promise<string> {
  const names = await readdir(server.storeFolder, { recursive: true })
  const name = names.find((one) => one.includes('blobs') && one.endsWith(uploadId))
  if (name === undefined) throw new Error(`The store has no object for ${uploadId}`)
  const path = join(server.storeFolder, name)
  await chmod(path, 0o600)
  return path
}

/** Nothing at the target, nothing beside it, and an exit code that says integrity. */
async function expectRefused(artifact: Artifact): Promise<void> {
  const error = await get(connection, artifact, { output: work.at('out') }).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(ArtifactError)
  if (error instanceof ArtifactError) expect(error.row.exit).toBe(EXITS.integrity)
  expect(await readdir(work.path)).toEqual(['in'])
}

describe('get() of what was tampered with in the store', () => {
  it('refuses the object with any one of its bits inverted', { timeout: 240_000 }, async () => {
    const bytes = makeBytes(SIZE, 'bits')
    const { artifact, stored } = await sealBytes('bits', bytes)
    for (let bit = 0; bit < SIZE * 8; bit++) {
      const spoiled = Buffer.from(bytes)
      spoiled[bit >> 3] = (spoiled[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      await writeFile(stored, spoiled)
      await expectRefused(artifact)
    }
    await writeFile(stored, bytes)
  })

  it.each([
    ['cut short by a byte', (bytes: Buffer) => bytes.subarray(0, -1)],
    ['cut short by a part', (bytes: Buffer) => bytes.subarray(0, 2 * PART)],
    ['emptied', () => Buffer.alloc(0)],
    ['longer by a byte', (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(1)])],
    [
      'put together in another order',
      (bytes: Buffer) =>
        Buffer.concat([
          bytes.subarray(PART, 2 * PART),
          bytes.subarray(0, PART),
          bytes.subarray(2 * PART),
        ]),
    ],
    ['exchanged for another of its size', () => makeBytes(SIZE, 'another')],
  ])('refuses the object %s', async (_, spoil) => {
    const bytes = makeBytes(SIZE, 'shape')
    const { artifact, stored } = await sealBytes('shape', bytes)
    await writeFile(stored, spoil(bytes))
    await expectRefused(artifact)
  })

  it('gives a stream nothing but verified parts', async () => {
    const bytes = makeBytes(SIZE, 'stream')
    const { artifact, stored } = await sealBytes('stream', bytes)
    const spoiled = Buffer.from(bytes)
    spoiled[SIZE - 1] = (spoiled[SIZE - 1] ?? 0) ^ 1
    await writeFile(stored, spoiled)
    const output = new PassThrough()
    const error = await get(connection, artifact, { output }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ArtifactError)
    output.end()
    const released = Buffer.concat(await output.toArray())
    expect(bytes.subarray(0, 2 * PART).subarray(0, released.length)).toEqual(released)
  })

  it('names the one spoiled artifact of a run, and brings the others', async () => {
    await sealBytes('run', makeBytes(SIZE, 'one'))
    const target = { task: 'run', run: 0, name: 'spoiled' }
    const { artifact } = await upload(connection, { file: work.at('in') }, target)
    await writeFile(await findStored(artifact), 'x'.repeat(SIZE))
    const { done, failed } = await getRun(connection, 'run', 0, work.at('out'))
    expect(done.map((one) => one.artifact.name)).toEqual(['in'])
    expect(failed.map((one) => one.name)).toEqual(['spoiled'])
    expect(failed[0]?.error.row.exit).toBe(EXITS.integrity)
    expect(await readdir(work.at('out'))).toEqual(['in'])
    expect(await readFile(work.at('out', 'in'))).toEqual(makeBytes(SIZE, 'one'))
  })
})
