/** What the pages ask of very many records: what is asserted is how much is read, never how long it takes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  findByDigest,
  listNameLines,
  listRunLines,
  readLogSizes,
  readStandings,
  summariseTasks,
} from '../../server/records/inspection.ts'
import { findTurn } from '../../server/records/verification.ts'
import { fillRecords } from '../bench/fill-records.ts'
import { createTestDatabase } from '../support/database.ts'
import { explaining, flatten } from '../support/explain.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'

const ROWS = 50_000
const ORIGIN = 'example.com/log'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
  const trees = await fillRecords(database.adminUrl, {
    ...{ rows: ROWS, until: new Date('2026-11-22T00:00:00Z'), batches: 50 },
  })
  for (const { size, at } of trees)
    await database.admin`
      insert into artifact.log_checkpoint (origin, size, note, cosignatures, signed_at)
      select ${ORIGIN}, ${size}, 'note', n, ${at} from generate_series(0, 99) as n`
  await database.admin`analyze artifact.log_checkpoint`
}, 120_000)
afterAll(() => database[Symbol.asyncDispose]())

/** Runs `ask` and expects that its statements touched few pages and no table from end to end. */
async function expectFew<T>(
  pagesMax: number,
  ask: (sql: TestDatabase['server']) => Promise<T>,
): Promise<T> {
  const { sql, plans, texts } = explaining(database.server)
  const answer = await ask(sql)
  expect(plans.length).toBeGreaterThan(0)
  for (const plan of plans) {
    expect(plan.buffers, texts.join('\n')).toBeLessThan(pagesMax)
    // A table without rows may be read from end to end: there is no end to it.
    const scans = flatten(plan).filter(({ type, buffers }) => type === 'Seq Scan' && buffers > 1)
    expect(scans, texts.join('\n')).toEqual([])
  }
  return answer
}

describe('pages of very many records', () => {
  test('summariseTasks() reads the ends of indexes', async () => {
    const found = await expectFew(40, (sql) =>
      summariseTasks(sql, ['archive', 'turtle-db', 'absent']),
    )
    expect(found).toMatchObject([
      { task: 'archive', run: 0 },
      { task: 'turtle-db', run: ROWS / 20 - 1, sealedRun: ROWS / 20 - 1 },
      { task: 'absent', run: undefined, sealedAt: undefined },
    ])
  })

  test('listRunLines() reads the beginning of a run that has very many', async () => {
    const lines = await expectFew(250, (sql) => listRunLines(sql, 'archive', [0], 200))
    expect(lines).toHaveLength(200)
    const names = lines.map(({ name }) => name)
    expect(names).toEqual([...names].sort())
  })

  test('listNameLines() reads the last runs of a name', async () => {
    const lines = await expectFew(60, (sql) => listNameLines(sql, 'turtle-db', ['db.dump'], 30))
    const last = ROWS / 20 - 1
    expect(lines.map(({ run }) => run)).toEqual(Array.from({ length: 30 }, (_, n) => last - n))
  })

  test('readStandings() reads a few rows for each name', async () => {
    const lines = await listRunLines(database.server, 'archive', [0], 20)
    const names = lines.map(({ name }) => name)
    const standings = await expectFew(300, (sql) => readStandings(sql, 'archive', 0, names))
    expect(standings).toHaveLength(20)
    expect(standings.every(({ leafIndex }) => leafIndex !== undefined)).toBe(true)
  })

  test('findByDigest() reads one range, for whole digests and beginnings of any length', async () => {
    const [row] = await database.server<[{ sha256: string; name: string }]>`
      select encode(sha256, 'hex') as sha256, name from artifact.artifact
      where task = 'turtle-db' and run = 7 order by name limit 1`
    for (const digits of [8, 9, 33, 64]) {
      const found = await expectFew(30, (sql) => findByDigest(sql, row.sha256.slice(0, digits), 10))
      expect(found).toMatchObject([{ task: 'turtle-db', run: 7, name: row.name }])
    }
    expect(await findByDigest(database.server, '0'.repeat(64), 10)).toEqual([])
  })

  test('readLogSizes() tells the size of the log at any time', async () => {
    const moments = ['2020-01-01', '2026-11-21T12:00:00Z', '2026-11-23'].map((at) => new Date(at))
    const sizes = await expectFew(40, (sql) => readLogSizes(sql, ORIGIN, moments))
    expect(sizes[0]).toBe(0)
    expect(sizes[1]).toBeGreaterThan(0)
    expect(sizes[1]).toBeLessThan(ROWS)
    expect(sizes[2]).toBe(ROWS)
  })

  test('findTurn() gives turns in the order of the seals, without looking at the rest', async () => {
    const turns = await expectFew(60, (sql) => findTurn(sql, new Date('2026-11-22'), []))
    expect(turns).toMatchObject({ idx: 0 })
    const next = await findTurn(database.server, new Date('2026-11-22'), [0])
    expect(next).toMatchObject({ idx: 1 })
  })
})
