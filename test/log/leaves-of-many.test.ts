/** The leaves of a name among very many: what is asserted is how much is read. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findLeaves, findLeavesOfRun } from '../../server/records/log.ts'
import { createTestDatabase } from '../support/database.ts'
import { explaining } from '../support/explain.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'

const LEAVES = 50_000
/** The ways down two indexes, the rows, and some air. */
const BUFFERS_MAX = 20

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
  await database.admin.begin(async (tx) => {
    // The records are not needed: their leaves are looked up by name.
    await tx`set local session_replication_role = 'replica'`
    await tx`
      insert into artifact.log_leaf (idx, kind, task, run, name, leaf, leaf_hash)
      select n, case when n % 100 = 99 then 'revoke' else 'seal' end, 'many', 0,
        'f' || case when n % 100 = 99 then n - 1 else n end, leaf, sha256('\\x00'::bytea || leaf)
      from generate_series(0, ${LEAVES - 1}::int) n, convert_to('leaf ' || n, 'UTF8') leaf`
    await tx`analyze artifact.log_leaf`
  })
}, 120_000)
afterAll(() => database[Symbol.asyncDispose]())

describe('findLeaves()', () => {
  it('reads the leaves of a name by its indexes, the seal first', async () => {
    const { sql, plans, texts } = explaining(database.server)
    const rows = await findLeaves(sql, { task: 'many', run: 0, name: 'f20098' })
    expect(rows.map(({ idx, kind }) => [idx, kind])).toEqual([
      [20_098, 'seal'],
      [20_099, 'revoke'],
    ])
    expect(plans.at(-1)?.buffers, texts.at(-1)).toBeLessThan(BUFFERS_MAX)
  })
})

describe('findLeavesOfRun()', () => {
  it('gives those of all names, in the order of the log', async () => {
    const names = ['f20098', 'f7', 'absent', 'f30000']
    const rows = await findLeavesOfRun(database.server, 'many', 0, names)
    expect(rows.map(({ idx }) => idx)).toEqual([7, 20_098, 20_099, 30_000])
  })
})
