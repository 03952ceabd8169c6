/**
 * That no request and no work in the background has to read a large table from end to end: by the
 * counts of Postgres itself, so that foreign keys and statements that change rows are in it.
 *
 * Tables of this size Postgres reads whole where that is cheaper. Here it is told to do so only where
 * no index offers another way, as it does by itself with millions of rows.
 */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTileCache } from '../../server/log/tile-cache.ts'
import { createProver } from '../../server/log/tiles.ts'
import { openDatabase, type Sql } from '../../server/records/database.ts'
import { deleteEvents } from '../../server/records/events.ts'
import { type LeafRow, readHead, readLeaves, readTileHashes } from '../../server/records/log.ts'
import { listRuns } from '../../server/records/tasks.ts'
import {
  deleteEnded,
  findExpired,
  findStranded,
  findUnpurged,
  insertVerifying,
  markPurged,
  markSealedPurged,
} from '../../server/records/upload-endings.ts'
import { listUploads } from '../../server/records/uploads.ts'
import {
  findTurn,
  insertVerification,
  listFaults,
  listVerifications,
} from '../../server/records/verification.ts'
import { fillRecords } from '../bench/fill-records.ts'
import { createTestDatabase } from '../support/database.ts'
import { explaining } from '../support/explain.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { countUse } from '../support/table-use.ts'
import { addressOf, makeContent, sealContent } from '../support/upload.ts'
import { signIn, visit } from '../support/visitor.ts'

const ROWS = 20_000
const UPLOADS = 6000
const EVENTS = 22_000
const UNTIL = new Date('2026-11-22T00:00:00Z')
const LARGE = [
  ...['artifact', 'event', 'log_leaf', 'log_scrub', 'run', 'upload', 'upload_part', 'verification'],
  'verification_turn',
]

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
  const { admin } = database
  await fillRecords(database.adminUrl, { rows: ROWS, until: UNTIL, batches: 50 })
  // Sealed in the last minutes; every hundredth is a copy of what was sealed before it.
  await admin`
    insert into artifact.upload (
      id, task, run, name, size, sha256, part_size, content_type, labels, policy, state, blob_key,
      token_id, token_name, opened_at, expires_at, ended_at)
    select upload_id, task, run, name, size, sha256, part_size, content_type, labels, policy, 'sealed',
      case when idx % 100 = 0 then 'copy of ' else '' end || blob_key, sealed_by_token,
      sealed_by_name, sealed_at, sealed_at, ${UNTIL}
    from artifact.log_leaf join artifact.artifact using (task, run, name)
    where idx >= ${ROWS - UPLOADS}`
  await admin`
    insert into artifact.upload_part (upload_id, number, size, sha256)
    select id, 1, greatest(size, 1), sha256 from artifact.upload`
  await admin`
    insert into artifact.event (at, kind, task, run, name, body)
    select ${UNTIL}::timestamptz + n * interval '1 second', 'old', 'old', 0, 'old', '{}'
    from generate_series(1, ${EVENTS}::int) as n`
  // Everything was read again once, and one in a thousand did not agree.
  await admin`
    insert into artifact.verification (task, run, name, at, outcome, code, bytes, seconds, server)
    select task, run, name, ${UNTIL}, case when idx % 1000 = 0 then 'mismatch' else 'agreed' end,
      case when idx % 1000 = 0 then 'digest_mismatch' end, 1, 1, gen_random_uuid()
    from artifact.log_leaf`
  await admin`
    insert into artifact.verification_turn (idx, seen_at)
    select idx, ${UNTIL}::timestamptz + idx * interval '1 second' from artifact.log_leaf
    where idx < ${ROWS - 3000}`
  await admin`
    insert into artifact.log_scrub (tile, checked_at, leaves)
    select tile, ${UNTIL}, 256 from generate_series(0, ${Math.floor(ROWS / 256)}::int) as tile`
  await admin`vacuum analyze`
  const [{ name }] = await admin<[{ name: string }]>`select current_database() as name`
  await admin`alter role artifact_server in database ${admin(name)} set enable_seqscan = off`
}, 120_000)
afterAll(() => database[Symbol.asyncDispose]())

/** Until every page is known to be visible to all: a vacuum leaves out what a neighbour may not see yet. */
async function vacuumWhole(admin: Sql, tables: readonly string[]): Promise<void> {
  for (const table of tables) {
    const readHidden = async () => {
      await admin`vacuum ${admin(`artifact.${table}`)}`
      return admin`
        select from pg_class where oid = ${`artifact.${table}`}::regclass and relallvisible < relpages`
    }
    await expect.poll(readHidden, { timeout: 30_000 }).toHaveLength(0)
  }
}

/** Runs `ask` on one connection; returns what it answers and how many pages were touched for it. */
async function onlyFew<T>(pagesMax: number, ask: (sql: Sql) => Promise<T>): Promise<T> {
  let answer: [T] | undefined
  const use = await countUse(database.admin, 'artifact_server', async () => {
    await using single = await openDatabase({ url: database.serverUrl, connectionsMax: 1 })
    answer = [await ask(single.sql)]
  })
  expect(use.filter(({ table, scans }) => LARGE.includes(table) && scans > 0)).toEqual([])
  const pages = use.reduce((sum, each) => sum + each.pages, 0)
  expect(pages, JSON.stringify(use.filter((each) => each.pages > 0))).toBeLessThan(pagesMax)
  if (answer === undefined) throw new Error('It was not asked')
  return answer[0]
}

test('a server reads no large table from end to end, whatever it is asked', async () => {
  const [known] = await database.admin<[{ sha256: string }]>`
    select encode(sha256, 'hex') as sha256 from artifact.artifact where task = 'archive' limit 1`
  let server: TestServer | undefined
  const use = await countUse(database.admin, 'artifact_server', async () => {
    await using started = await startTestServer({
      settings: { reverifyDays: '0' },
      clock: () => UNTIL,
      database: { ...database, server: database.admin },
    })
    server = started
    await askEverything(started, known.sha256)
  })
  expect(server?.log.filter((line) => line.includes('"level":50'))).toEqual([])
  expect(use.filter(({ table, scans }) => LARGE.includes(table) && scans > 0)).toEqual([])
  // All names of the large run are among what was asked for, and their rows lie apart.
  const pages = use.find(({ table }) => table === 'artifact')?.pages
  expect(pages).toBeGreaterThan(ROWS / 10)
  expect(pages).toBeLessThan(ROWS / 2)
})

test('whether an upload is new is looked up, also where all artifacts are read as cheaply', async () => {
  const [id, tokenId, holder] = [randomUUID(), randomUUID(), randomUUID()]
  const upload = {
    request: { id, task: 'turtle-db', run: 7, name: id, contentType: 'text/plain', labels: {} },
    claim: { sha256: '00'.repeat(32), sizeBytes: 0n, parts: [] },
    ...{ partSizeBytes: 65_536, policy: 'reread' as const, blobKey: `blobs/${id}` },
    ...{ tokenId, tokenName: 'a', openedAt: UNTIL, expiresAt: UNTIL, holder, leaseUntil: UNTIL },
  }
  const inserted = await onlyFew(100, async (sql) => {
    // Postgres expects a hundred rows of any JSON: that many looks into an index cost more than all pages.
    await sql`set enable_seqscan = on`
    await sql`set random_page_cost = 40`
    return insertVerifying(sql, [upload])
  })
  expect(inserted.map((each) => each.id)).toEqual([id])
  await database.admin`delete from artifact.upload where id = ${id}`
})

async function askEverything(server: TestServer, sha256: string): Promise<void> {
  await sealContent(server, { task: 'turtle-db', run: 7, name: 'new' }, makeContent(100, 'new'))
  const record = addressOf({ task: 'turtle-db', run: 7, name: 'new' })
  for (const path of [
    ...['/v1/tasks?limit=100', '/v1/tasks/turtle-db/runs?after=900', '/v1/uploads?state=active'],
    ...['/v1/uploads?state=sealed', '/v1/uploads?state=sealed&task=turtle-db'],
    ...['/v1/tasks/archive/runs/0/artifacts?limit=100', '/v1/tasks/archive/runs/0/SHA256SUMS'],
    ...[record, `${record}/parts`, `${record}/verifications`],
    '/v1/tasks/turtle-db/runs/latest/artifacts/db.dump',
  ])
    expect([path, (await server.request('GET', path)).status]).toEqual([path, 200])
  const cookie = await signIn(server, server.token)
  for (const path of [
    ...[
      '/',
      '/tasks',
      '/tasks/archive',
      '/tasks/archive/0',
      '/tasks/turtle-db',
      '/tasks/turtle-db/7',
    ],
    ...['/artifacts/turtle-db/7/new', '/search?q=archive/0/volumes/'],
  ])
    expect([path, (await visit(server, path, { cookie })).status]).toEqual([path, 200])
  // The only one: the page of the artifact is where it leads.
  const search = await visit(server, `/search?q=${sha256.slice(0, 12)}`, { cookie })
  expect(search.status).toBe(303)
}

test('the runs of a task, and the hashes of a tile, are read from an index alone', async () => {
  await vacuumWhole(database.admin, ['run', 'log_leaf'])
  const page = { before: undefined, limit: 100 }
  const explained = explaining(database.server)
  expect(await listRuns(explained.sql, 'turtle-db', page)).toHaveLength(100)
  expect(explained.plans).toMatchObject([
    { below: [{ type: 'Index Only Scan', index: 'run_latest', dropped: 0 }] },
  ])
  const start = 256 * 41
  const hashes = await onlyFew(10, (sql) => readTileHashes(sql, 0, start, start + 256))
  expect(hashes).toHaveLength(256 * 32)
})

test('receipts share what lies above their tiles', async () => {
  const tree = await readHead(database.admin)
  const head = { ...tree, note: 'signed' }
  const tiles = createTileCache()
  const first = await readLeaves(database.admin, 5000, 5001)
  const other = await readLeaves(database.admin, 9000, 9001)
  const make = (rows: LeafRow[]) => (sql: Sql) =>
    Promise.all(rows.map(createProver(sql, head, tiles).receiptOf))
  expect(await onlyFew(60, make(first))).toHaveLength(1)
  expect(await onlyFew(10, make(other))).toHaveLength(1)
})

test('a turn is found, and taken, among all', async () => {
  const due = new Date(UNTIL.getTime() + 1_000_000_000)
  // The first thousand of those that are new come with it.
  const turn = await onlyFew(20_000, (sql) => findTurn(sql, due, [0, 1]))
  expect(turn).toMatchObject({ idx: ROWS - 3000 })
  if (turn === undefined) throw new Error('There is no turn')
  const seen = {
    outcome: 'agreed',
    code: undefined,
    expected: undefined,
    found: undefined,
  } as const
  await onlyFew(200, (sql) =>
    insertVerification(sql, turn, {
      ...{
        ...seen,
        at: due,
        bytes: 1n,
        seconds: 1,
        server: '5a3f6c1e-7a55-4ad2-9c3d-0123456789ab',
      },
    }),
  )
  const found = await onlyFew(100, (sql) =>
    listVerifications(sql, turn, { before: undefined, limit: 10 }),
  )
  expect(found).toHaveLength(2)
  // One in a thousand, and that one agrees now.
  expect(await onlyFew(1000, (sql) => listFaults(sql, 20))).toHaveLength(19)
})

test('uploads of one state or one task are found among all', async () => {
  const list = (state: 'sealed' | 'failed' | 'active', task?: string) => (sql: Sql) =>
    listUploads(sql, { state, task, after: undefined, limit: 20 })
  expect(await onlyFew(60, list('sealed'))).toHaveLength(20)
  expect(await onlyFew(60, list('sealed', 'turtle-db'))).toHaveLength(20)
  for (const state of ['failed', 'active'] as const)
    for (const task of [undefined, 'turtle-db'])
      expect(await onlyFew(60, list(state, task))).toEqual([])
  // Half of them, one a minute.
  const openedAt = new Date(UNTIL.getTime() - (UPLOADS / 2) * 60_000)
  const after = { openedAt, id: randomUUID() }
  const page = await onlyFew(60, (sql) =>
    listUploads(sql, { state: 'sealed', task: undefined, after, limit: 20 }),
  )
  expect(page).toHaveLength(20)
  expect(page.every((each) => each.openedAt <= openedAt)).toBe(true)
})

test('the sweep finds what ended among all', async () => {
  const later = new Date(UNTIL.getTime() + 1000)
  expect(await onlyFew(100, (sql) => findExpired(sql, later, 100))).toEqual([])
  expect(await onlyFew(100, (sql) => findStranded(sql, later, 100))).toEqual([])
})

test('the sweep forgets what ended, however much it is, a few at a time', async () => {
  const later = new Date(UNTIL.getTime() + 1000)
  const { admin } = database
  const count = async (condition: ReturnType<Sql>) => {
    const [row] = await admin<[{ count: number }]>`
      select count(*)::int as count from artifact.upload where ${condition}`
    return row.count
  }
  // Less than a statement may touch that does all of it at once.
  await onlyFew(100 * UPLOADS, (sql) => markSealedPurged(sql, later, later))
  const copies = UPLOADS / 100
  expect(await count(admin`purged_at is null`)).toBe(copies)
  const left = await onlyFew(20 * copies, (sql) => findUnpurged(sql, later, 100))
  expect(left).toHaveLength(copies)
  expect(left.every(({ blobKey }) => blobKey.startsWith('copy of '))).toBe(true)
  await markPurged(
    admin,
    left.map(({ id }) => id),
    later,
  )
  expect(await onlyFew(100 * UPLOADS, (sql) => deleteEnded(sql, later))).toBe(
    // And the one that was sealed here.
    UPLOADS + 1,
  )
  expect(await count(admin`true`)).toBe(0)
  await onlyFew(20 * EVENTS, (sql) => deleteEvents(sql, new Date(later.getTime() + EVENTS * 1000)))
  const [old] = await admin<[{ count: number }]>`
    select count(*)::int as count from artifact.event where kind = 'old'`
  expect(old.count).toBe(0)
})
