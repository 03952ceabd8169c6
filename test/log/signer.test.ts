import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../client/verify/checkpoint.ts'
import { createFrontier } from '../../client/verify/frontier.ts'
import { formatLeaf, parseSealLeaf } from '../../client/verify/leaf.ts'
import { hashLeaf } from '../../client/verify/merkle.ts'
import { trustLog } from '../../client/verify/policy.ts'
import { scrubTile } from '../../server/care/scrub.ts'
import { createSequencer, type Sequencer } from '../../server/log/sequencer.ts'
import { checkMemory, signHead } from '../../server/log/signer.ts'
import { initSigner, openSigner, type SignerFolder } from '../../server/log/signer-folder.ts'
import { startSigning } from '../../server/log/signer-loop.ts'
import { type Database, openDatabase } from '../../server/records/database.ts'
import { findCheckpoint, readLeaves } from '../../server/records/log.ts'
import { type Outbox, openOutbox } from '../../server/records/outbox.ts'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { sealName } from '../support/sealing.ts'

let database: TestDatabase
let folder: string
let signerFolder: SignerFolder
let signerDatabase: Database
let outbox: Outbox
let sequencer: Sequencer

beforeEach(async () => {
  database = await createTestDatabase()
  folder = await mkdtemp(join(tmpdir(), 'artifact-signer-'))
  await initSigner(folder, 'example.com/log')
  signerFolder = await openSigner(folder)
  signerDatabase = await openDatabase({ url: database.signerUrl, connectionsMax: 1 })
  outbox = openOutbox(database.server, (error) => expect.unreachable(String(error)))
  sequencer = createSequencer(outbox, () => new Date())
})
afterEach(async () => {
  await outbox[Symbol.asyncDispose]()
  await signerDatabase[Symbol.asyncDispose]()
  await signerFolder[Symbol.asyncDispose]()
  await database[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

const parts = () => ({ sql: signerDatabase.sql, ...signerFolder })
const seal = (name: string, content?: string) => sealName(database.server, sequencer, name, content)
const LOG_TABLES = ['artifact', 'log_leaf', 'log_node', 'log_tree']

/** What a superuser can do who wants to. */
async function asIntruder(statements: () => Promise<unknown>): Promise<void> {
  const { admin } = database
  for (const table of LOG_TABLES)
    await admin.unsafe(`alter table artifact.${table} disable trigger all`)
  await statements()
  for (const table of LOG_TABLES)
    await admin.unsafe(`alter table artifact.${table} enable always trigger write_once`)
}

/** Rewrites a leaf and every hash above it, as if it had always been so. */
async function rebuildWith(index: number, sha256: string): Promise<void> {
  const { admin } = database
  const rows = await readLeaves(admin, 0, 1000)
  const frontier = createFrontier()
  for (const row of rows) {
    const leaf = row.idx === index ? formatLeaf({ ...parseSealLeaf(row.leaf), sha256 }) : row.leaf
    await admin`update artifact.log_leaf set leaf = ${leaf}, leaf_hash = ${hashLeaf(leaf)} where idx = ${row.idx}`
    frontier.append(hashLeaf(leaf))
    await admin`
      update artifact.log_tree set root = ${frontier.root()}, frontier = ${Buffer.concat(frontier.hashes)}
      where size = ${frontier.size}`
  }
}

describe('signHead()', () => {
  test('signs every batch under its key, and nothing twice', async () => {
    await signHead(parts())
    await Promise.all(['a', 'b', 'c'].map((name) => seal(name)))
    const note = (await signHead(parts())) ?? ''
    expect(openCheckpoint(note, trustLog(signerFolder.signer.key))).toMatchObject({
      origin: 'example.com/log',
      size: 3,
    })
    expect(await signHead(parts())).toBeUndefined()
    expect((await findCheckpoint(database.server, 'example.com/log'))?.note).toBe(note)
  })

  test('refuses a log that shrank', async () => {
    await seal('a')
    await seal('b')
    await signHead(parts())
    await asIntruder(async () => {
      await database.admin`delete from artifact.log_checkpoint`.catch(() => undefined)
      await database.admin.unsafe('alter table artifact.log_checkpoint disable trigger all')
      await database.admin`delete from artifact.log_checkpoint where size = 2`
      await database.admin`delete from artifact.log_tree where size = 2`
      await database.admin`delete from artifact.log_leaf where idx = 1`
    })
    await expect(signHead(parts())).rejects.toMatchObject({ code: 'log_rollback' })
  })

  test('refuses a log that was rebuilt', async () => {
    await seal('a')
    await seal('b')
    await signHead(parts())
    await asIntruder(() => rebuildWith(0, 'f'.repeat(64)))
    await expect(signHead(parts())).rejects.toMatchObject({ code: 'log_fork' })
    await seal('c')
    await expect(signHead(parts())).rejects.toMatchObject({ code: 'log_fork' })
  })

  test('refuses a name that was hidden and sealed again', async () => {
    await seal('a', 'good')
    await seal('b')
    await signHead(parts())
    await asIntruder(async () => {
      await database.admin`update artifact.log_leaf set name = 'hidden' where idx = 0`
      await database.admin`update artifact.artifact set name = 'hidden' where name = 'a'`
    })
    await seal('a', 'evil')
    await expect(signHead(parts())).rejects.toMatchObject({ code: 'log_record' })
    await expect(signHead(parts())).rejects.toMatchObject({ code: 'log_record' })
  })

  test('refuses leaves whose root is another one', async () => {
    await seal('a')
    await asIntruder(
      () => database.admin`update artifact.log_tree set root = sha256('x') where size = 1`,
    )
    await expect(signHead(parts())).rejects.toMatchObject({ code: 'log_fork' })
  })

  test('goes on after a crash between remembering and signing', async () => {
    await seal('a')
    const sign = () => {
      throw new Error('killed')
    }
    const { signer } = signerFolder
    await expect(signHead({ ...parts(), signer: { key: signer.key, sign } })).rejects.toThrow(
      'killed',
    )
    expect(await signHead(parts())).toContain('\n1\n')
  })

  test('goes on after a crash between signing and publishing', async () => {
    await seal('a')
    await database.admin`revoke insert on artifact.log_checkpoint from artifact_signer`
    await expect(signHead(parts())).rejects.toMatchObject({ code: '42501' })
    await database.admin`grant insert on artifact.log_checkpoint to artifact_signer`
    const note = await signHead(parts())
    expect((await findCheckpoint(database.server, 'example.com/log'))?.note).toBe(note)
  })
})

describe('startSigning()', () => {
  test('signs at once what comes after a quiet while', async () => {
    await signHead(parts())
    const signed = Promise.withResolvers<string>()
    const hour = { spacingMs: 3_600_000, onSigned: signed.resolve, onFault: signed.reject }
    await using _signing = await startSigning(parts(), hour)
    await seal('a')
    expect(openCheckpoint(await signed.promise, trustLog(signerFolder.signer.key)).size).toBe(1)
  })
})

describe('checkMemory()', () => {
  test('refuses to sign with an old copy of its memory', async () => {
    await seal('a')
    await signHead(parts())
    await signerFolder[Symbol.asyncDispose]()
    const state = join(folder, 'state.sqlite')
    await copyFile(state, `${state}.old`)
    signerFolder = await openSigner(folder)
    await seal('b')
    await signHead(parts())
    await signerFolder[Symbol.asyncDispose]()
    for (const end of ['-wal', '-shm']) await rm(state + end, { force: true })
    await copyFile(`${state}.old`, state)
    signerFolder = await openSigner(folder)
    await expect(checkMemory(parts())).rejects.toMatchObject({ code: 'log_rollback' })
  })
})

describe('openSigner()', () => {
  test('refuses a second signer on one folder', async () => {
    await expect(openSigner(folder)).rejects.toMatchObject({ code: 'locked' })
  })

  test('makes no memory by accident', async () => {
    await signerFolder[Symbol.asyncDispose]()
    await rm(join(folder, 'state.sqlite'))
    await expect(openSigner(folder)).rejects.toMatchObject({ code: 'configuration' })
    await expect(initSigner(folder, 'example.com/log')).rejects.toMatchObject({
      code: 'target_exists',
    })
    await rm(join(folder, 'key'))
    await initSigner(folder, 'example.com/log')
    signerFolder = await openSigner(folder)
  })
})

describe('scrubTile()', () => {
  test('finds nothing in a log that is whole', async () => {
    await seal('a')
    expect((await scrubTile(database.server, 0)).faults).toEqual([])
  })

  test('finds a record that was edited in place', async () => {
    await seal('a')
    await asIntruder(() => database.admin`update artifact.artifact set size = 4`)
    expect((await scrubTile(database.server, 0)).faults).toEqual([expect.stringContaining('size')])
  })

  test('finds a leaf that was edited with its hash', async () => {
    for (let at = 0; at < 256; at += 32)
      await Promise.all(Array.from({ length: 32 }, (_, index) => seal(`n${at + index}`)))
    await signHead(parts())
    await asIntruder(() => rebuildWith(7, 'e'.repeat(64)))
    // The signer looks at new leaves only: this is what the scrubber is for.
    expect((await scrubTile(database.server, 0)).faults).toEqual([
      expect.stringContaining('leaf 7'),
      'tile 0 does not have its root',
    ])
  })
})
