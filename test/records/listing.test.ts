/** A run with 1,000,000 artifacts: what is asserted is how much is read, never how long it takes. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findArtifact, findLatestRun, listArtifacts } from '../../server/records/artifacts.ts'
import { createTestDatabase } from '../support/database.ts'
import { explaining, flatten } from '../support/explain.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'

const ARTIFACTS = 1_000_000
const RUNS = 1000
const LIMIT = 100
/** One page for each row, if they lie far apart, the way down the index, and some air. */
const BUFFERS_MAX = LIMIT + 20

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
  await database.admin.begin(async (tx) => {
    await tx`set local statement_timeout = 0`
    await tx`insert into artifact.task (task) values ('big'), ('small')`
    await tx`insert into artifact.run (task, run) values ('big', 7), ('big', 8), ('small', 0)`
    // Without the check of each row's run: a million rows in seconds.
    await tx`set local session_replication_role = 'replica'`
    await tx`
      insert into artifact.artifact (task, run, name, sha256, size, part_size, part_sha256s, content_type, labels,
        policy, store, blob_key, blob_tag, upload_id, opened_at, sealed_by_token, sealed_by_name)
      select 'big', 7, 'd' || lpad((n / 1000)::text, 3, '0') || '/f' || lpad((n % 1000)::text, 3, '0'),
        d, 1, 8388608, d, 'text/plain', '{}', 'reread', 'filesystem', 'blobs/' || lpad(n::text, 7, '0'), '"t"',
        lpad(to_hex(n), 32, '0')::uuid, now(), '00000000-0000-4000-8000-000000000001', 'worker'
      from generate_series(0, ${ARTIFACTS - 1}::int) n, sha256('x') d`
    await tx`analyze artifact.artifact`
    // A backup of every night, which the statistics do not know of yet.
    await tx`insert into artifact.task (task) values ('nightly')`
    await tx`insert into artifact.run (task, run) select 'nightly', r from generate_series(0, ${RUNS - 1}::int) r`
    await tx`
      insert into artifact.artifact (task, run, name, sha256, size, part_size, part_sha256s, content_type, labels,
        policy, store, blob_key, blob_tag, upload_id, opened_at, sealed_by_token, sealed_by_name)
      select 'nightly', r, 't' || lpad(n::text, 3, '0'), d, 1, 8388608, d, 'text/plain', '{}', 'reread', 'filesystem',
        'nightly/' || r || '/' || n, '"t"', md5(r || '/' || n)::uuid, now(), '00000000-0000-4000-8000-000000000001', 'worker'
      from generate_series(0, ${RUNS - 1}::int) r, generate_series(0, 199) n, sha256('x') d`
  })
}, 300_000)
afterAll(() => database[Symbol.asyncDispose]())

describe('listArtifacts()', () => {
  test.each([
    ['the first page', { prefix: '', after: '' }, 'd000/f000'],
    ['a page deep inside', { prefix: '', after: 'd898/f999' }, 'd899/f000'],
    ['the last page', { prefix: '', after: 'd999/f899' }, 'd999/f900'],
    ['a prefix', { prefix: 'd500/', after: '' }, 'd500/f000'],
    ['a prefix from its middle', { prefix: 'd500/', after: 'd500/f499' }, 'd500/f500'],
    ['a prefix before its beginning', { prefix: 'd500/f9', after: 'd100/' }, 'd500/f900'],
  ])('reads %s as one range of the primary key', async (_, page, first) => {
    const { sql, plans, texts } = explaining(database.server)
    const found = await listArtifacts(sql, 'big', 7, { ...page, limit: LIMIT })
    expect(found).toHaveLength(LIMIT)
    expect(found[0]?.name).toBe(first)
    const [plan] = plans
    expect(plan, texts[0]).toMatchObject({
      type: 'Limit',
      rows: LIMIT,
      below: [{ type: 'Index Scan', index: 'artifact_pkey', rows: LIMIT, dropped: 0, below: [] }],
    })
    expect(plan?.buffers, texts[0]).toBeLessThan(BUFFERS_MAX)
  })

  test.each([
    ['a prefix that nothing has', 'big', 7, 'e'],
    ['a run in which nothing is sealed', 'big', 8, ''],
    ['a small task beside the big one', 'small', 0, ''],
  ])('reads next to nothing for %s', async (_, task, run, prefix) => {
    const { sql, plans, texts } = explaining(database.server)
    expect(await listArtifacts(sql, task, run, { prefix, after: '', limit: LIMIT })).toEqual([])
    expect(plans[0]?.buffers, texts[0]).toBeLessThan(BUFFERS_MAX)
    expect(
      flatten(plans[0] ?? never()).map((node) => node.type),
      texts[0],
    ).not.toContain('Seq Scan')
  })

  test.each([
    ['before the statistics know of them', ''],
    ['when the statistics know of them', 'analyze artifact.artifact'],
  ])('reads one run of a thousand %s without the others', async (_, before) => {
    await database.admin.unsafe(before)
    const { sql, plans, texts } = explaining(database.server)
    for (const after of ['', 't099']) {
      expect(
        await listArtifacts(sql, 'nightly', 500, { prefix: '', after, limit: LIMIT }),
      ).toHaveLength(100)
      expect(
        await listArtifacts(sql, 'nightly', 500, { prefix: 't1', after, limit: LIMIT }),
      ).toHaveLength(100)
    }
    expect(
      plans.map((plan) => [plan.type, plan.buffers < BUFFERS_MAX]),
      texts.join('\n'),
    ).toEqual(plans.map(() => ['Limit', true]))
  })

  test('gives every name once when it is read page by page', async () => {
    let after = 'd998/f999'
    const names = []
    for (;;) {
      const page = await listArtifacts(database.server, 'big', 7, { prefix: '', after, limit: 333 })
      if (page.length === 0) break
      names.push(...page.map((artifact) => artifact.name))
      after = page.at(-1)?.name ?? ''
    }
    expect(new Set(names).size).toBe(1000)
    expect(names).toEqual([...names].sort())
  })
})

describe('findArtifact()', () => {
  test.each([
    ['by its run', 7],
    ['in the latest run', 'latest'],
  ] as const)('finds one of a million %s by an index', async (_, run) => {
    const { sql, plans, texts } = explaining(database.server)
    const found = await findArtifact(sql, 'big', run, 'd500/f500')
    expect(found?.artifact.reference).toBe('big/7/d500/f500')
    expect(plans[0]?.buffers, texts[0]).toBeLessThan(20)
  })
})

describe('findLatestRun()', () => {
  test('reads the end of an index', async () => {
    const { sql, plans, texts } = explaining(database.server)
    expect(await findLatestRun(sql, 'big')).toBe(7)
    expect(plans[0]?.buffers, texts[0]).toBeLessThan(20)
  })
})

function never(): never {
  throw new Error('There is no plan')
}
