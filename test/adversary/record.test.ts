/**
 * The database administrator rewrites the record, with the triggers switched off. Without a log of
 * what was recorded nobody can prove who it was; but no changed record ever gives bytes.
 */
import { readdir, readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArtifactError, type Connection, connect, get } from '../../client/client.ts'
import { EXITS } from '../../schemas/problems.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { makeContent, sealContent } from '../support/upload.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const PART_BYTES = 64
const content = makeContent(3 * PART_BYTES - 7, 'record', PART_BYTES)
const foreign = makeContent(3 * PART_BYTES - 7, 'foreign', PART_BYTES)
const target = { task: 'adversary', run: 0, name: 'prize.bin' }

let server: TestServer
let connection: Connection
let work: WorkFolder
beforeAll(async () => {
  server = await startTestServer({
    settings: { partSizeBytes: String(PART_BYTES), logLevel: 'error' },
  })
  connection = connect({
    url: server.url,
    token: server.token,
    timing: { retryFirstMs: 1, retryMaxMs: 2 },
  })
  work = await makeWorkFolder()
  await sealContent(server, target, content)
  await sealContent(server, { ...target, name: 'foreign.bin' }, foreign)
  await server.admin`alter table artifact.artifact disable trigger all`
})
afterAll(async () => {
  await connection[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
  await work[Symbol.asyncDispose]()
})

/** What comes of getting it; whatever comes, nothing may be left but a verified file. */
async function tryGet(): Promise<'got' | number> {
  try {
    await get(connection, target, { output: work.at('out'), force: true })
    return 'got'
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error
    expect(await readdir(work.path)).toEqual([])
    return error.row.exit
  }
}

/** Inverts one bit of a column, or inverts it back. */
async function invert(column: 'sha256' | 'part_sha256s', bit: number): Promise<void> {
  const { admin } = server
  await admin`
    update artifact.artifact
    set ${admin(column)} = set_bit(${admin(column)}, ${bit}, 1 - get_bit(${admin(column)}, ${bit}))
    where task = ${target.task} and run = 0 and name = ${target.name}`
}

describe('get() by a record that was rewritten', () => {
  it.each([
    ['sha256', 256],
    ['part_sha256s', 3 * 256],
  ] as const)('refuses any one bit of %s inverted', { timeout: 240_000 }, async (column, bits) => {
    const accepted: number[] = []
    for (let bit = 0; bit < bits; bit += 1) {
      await invert(column, bit)
      if ((await tryGet()) !== EXITS.integrity) accepted.push(bit)
      await invert(column, bit)
    }
    expect(accepted).toEqual([])
  })

  it.each([
    ['a byte less', 'size = size - 1'],
    ['a byte more', 'size = size + 1'],
    [
      'two parts exchanged',
      'part_sha256s = substr(part_sha256s, 33, 32) || substr(part_sha256s, 1, 32) || substr(part_sha256s, 65)',
    ],
    ['another digest of the whole', "sha256 = sha256('x')"],
    [
      'the digests of another artifact',
      "(sha256, part_sha256s) = (select sha256, part_sha256s from artifact.artifact where name = 'foreign.bin')",
    ],
    [
      'the digest of the whole of another artifact',
      "sha256 = (select sha256 from artifact.artifact where name = 'foreign.bin')",
    ],
    ['another part size, with as many parts', 'part_size = part_size + 1'],
    ['a tag of the store that is not its own', `blob_tag = '"other"'`],
    ['a key of the store under which nothing lies', "blob_key = 'blobs/00/nothing'"],
  ])('refuses %s', async (_, change) => {
    await withChange(change, async () => expect(await tryGet()).toBe(EXITS.integrity))
  })

  it('refuses the bytes of another artifact under its key', async () => {
    const change =
      "(blob_key, blob_tag) = (select blob_key || '', blob_tag from artifact.artifact where name = 'foreign.bin')"
    await server.admin`alter table artifact.artifact drop constraint artifact_blob_key_key`
    await withChange(change, async () => expect(await tryGet()).toBe(EXITS.integrity))
  })

  it('gets the bytes once the record is as it was', async () => {
    expect(await tryGet()).toBe('got')
    expect((await readFile(work.at('out'))).equals(content.bytes)).toBe(true)
  })

  /** Runs `check` while the record says something else. */
  async function withChange(change: string, check: () => Promise<void>): Promise<void> {
    const { admin: sql } = server
    const [before] = await sql`select * from artifact.artifact where name = ${target.name}`
    await sql.unsafe(`update artifact.artifact set ${change} where name = '${target.name}'`)
    try {
      await check()
    } finally {
      const { sha256, size, part_size, part_sha256s, blob_key, blob_tag } = before ?? {}
      const old = { sha256, size, part_size, part_sha256s, blob_key, blob_tag }
      await sql`update artifact.artifact set ${sql(old)} where name = ${target.name}`
    }
  }
})
