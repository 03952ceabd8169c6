/** The proof that the record is write-once, on every Postgres that it is run against. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openDatabase, type Sql } from '../../server/records/database.ts'
import { SEALED_TABLES } from '../../server/records/privileges.ts'
import { type Cluster, createDatabase, type TestDatabase } from '../support/postgres-cluster.ts'
import { dumpSchema } from '../support/schema-dump.ts'
import { ATTACKS_ON_RIGHTS } from './attacks-on-rights.ts'
import { ATTACKS_ON_ROWS, HARMLESS } from './attacks-on-rows.ts'
import { readRoles, readSealedRows, seedHead, seedRecord } from './sealed-rows.ts'

/** A column of each sealed table: an update that changes nothing is refused as well. */
const ANY_COLUMN = {
  ...{ task: 'task', run: 'run', artifact: 'size' },
  ...{ log_leaf: 'leaf', log_node: 'hash', log_tree: 'root', log_checkpoint: 'note' },
  ...{ log_key: 'vkey', verification: 'outcome' },
} as const satisfies Record<(typeof SEALED_TABLES)[number], string>

const ATTACKS = [...ATTACKS_ON_ROWS, ...ATTACKS_ON_RIGHTS]

export function describeAttacks(findCluster: () => Cluster): void {
  let database: TestDatabase
  let names: { admin: string; database: string }
  let rows: unknown
  let schema: string
  let roles: unknown

  beforeAll(async () => {
    database = await createDatabase(findCluster())
    await seedRecord(database.server)
    {
      await using signer = await openDatabase({ url: database.signerUrl, connectionsMax: 1 })
      await seedHead(signer.sql)
    }
    const [row] = await database.admin<[{ admin: string; database: string }]>`
      select current_user as admin, current_database() as database`
    names = row
    rows = await readSealedRows(database.admin)
    schema = await dumpSchema(database.admin)
    roles = await readRoles(database.admin)
  })
  afterAll(() => database[Symbol.asyncDispose]())

  const fill = (statement: string) =>
    statement.replaceAll('$ADMIN', names.admin).replaceAll('$DATABASE', names.database)

  describe('the runtime role', () => {
    test.each(ATTACKS.map((attack) => [attack.area, shorten(attack.statements), attack] as const))(
      'is refused %s: %s',
      async (_area, _title, { statements, state }) => {
        await using attacker = await openDatabase({ url: database.serverUrl, connectionsMax: 1 })
        await using connection = await reserve(attacker.sql)
        for (const statement of statements.slice(0, -1))
          await connection.sql.unsafe(fill(statement))
        const last = connection.sql.unsafe(fill(statements.at(-1) ?? ''))
        await expect(last).rejects.toMatchObject({ name: 'PostgresError', code: state })
        await connection.sql.unsafe('rollback')
        expect(await readSealedRows(database.admin)).toEqual(rows)
      },
    )

    test.each(HARMLESS.map((statement) => [shorten([statement]), statement] as const))(
      'changes nothing by %s',
      async (_title, statement) => {
        await database.server.unsafe(fill(statement))
        expect(await readSealedRows(database.admin)).toEqual(rows)
        expect(await dumpSchema(database.admin)).toBe(schema)
        expect(await readRoles(database.admin)).toEqual(roles)
      },
    )

    test('changes nothing by COPY FROM STDIN that meets a row', async () => {
      await using attacker = await openDatabase({ url: database.serverUrl, connectionsMax: 1 })
      const [row] = await attacker.sql<[{ pid: number }]>`select pg_backend_pid() as pid`
      const stream = await attacker.sql`copy artifact.task (task) from stdin`.writable()
      // postgres.js does not tell what became of it: ask the server when it is through.
      stream.end('other\nturtle-db\n')
      await expect
        .poll(() => database.admin`select state from pg_stat_activity where pid = ${row.pid}`)
        .toEqual([{ state: 'idle' }])
      expect(await readSealedRows(database.admin)).toEqual(rows)
    })

    test('leaves sealed rows alone when it deletes and rewrites all that it may', async () => {
      const mutable = await readMutableTables(database.admin)
      expect(mutable.map((table) => table.name)).toEqual(
        expect.arrayContaining(['artifact.event', 'artifact.upload', 'artifact.upload_part']),
      )
      const rollback = new Error('rolled back on purpose')
      const attempt = database.server.begin(async (tx) => {
        for (const { name, updates } of mutable)
          if (updates !== '') await tx.unsafe(`update ${name} set ${updates}`)
        for (const { name, deletes } of mutable) if (deletes) await tx.unsafe(`delete from ${name}`)
        const [left] = await tx`
          select (select count(*) from artifact.upload)::int as uploads, (select count(*) from artifact.artifact)::int as artifacts`
        expect(left).toEqual({ uploads: 0, artifacts: 1 })
        throw rollback
      })
      await expect(attempt).rejects.toBe(rollback)
      await database.server`delete from artifact.upload`
      expect(await readSealedRows(database.admin)).toEqual(rows)
    })

    test('finds schema, grants and roles as they were after all of it', async () => {
      expect(await dumpSchema(database.admin)).toBe(schema)
      expect(await readRoles(database.admin)).toEqual(roles)
    })
  })

  describe('the reader', () => {
    test.each([
      'select from artifact.token',
      `insert into artifact.task (task) values ('other')`,
      'update artifact.artifact set size = 1',
      'delete from artifact.upload',
      'truncate artifact.event',
      'set role artifact_server',
      'select from artifact.artifact for share',
    ])('is refused %s', async (statement) => {
      await expect(database.reader.unsafe(statement)).rejects.toMatchObject({ code: '42501' })
    })

    test('reads the record', async () => {
      expect(await database.reader`select name from artifact.artifact`).toHaveLength(1)
    })
  })

  describe('the owner and a superuser', () => {
    const mistakes = SEALED_TABLES.flatMap((table) => [
      `update artifact.${table} set ${ANY_COLUMN[table]} = ${ANY_COLUMN[table]}`,
      `delete from artifact.${table}`,
      `truncate artifact.${table} cascade`,
    ])
    const modes = ['origin', 'replica', 'local']

    test.each(mistakes)('are stopped by a trigger at %s', async (statement) => {
      const asOwner = database.admin.begin(async (tx) => {
        await tx`set local role artifact_owner`
        await tx.unsafe(statement)
      })
      await expect(asOwner).rejects.toThrow(/is refused: the record is write-once/)
      for (const mode of modes) {
        const asSuperuser = database.admin.begin(async (tx) => {
          await tx.unsafe(`set local session_replication_role = '${mode}'`)
          await tx.unsafe(statement)
        })
        await expect(asSuperuser).rejects.toThrow(/is refused: the record is write-once/)
      }
      expect(await readSealedRows(database.admin)).toEqual(rows)
    })
  })

  describe('the catalog', () => {
    test('has no foreign key that changes a sealed table, or is one to a table that can lose rows', async () => {
      const found = await database.admin`
        select conname, conrelid::regclass::text as child, confrelid::regclass::text as parent
        from pg_constraint join pg_class c on c.oid = conrelid
        where contype = 'f' and c.relnamespace = to_regnamespace('artifact')
          and c.relname = any (${[...SEALED_TABLES]})
          and (confdeltype not in ('a', 'r') or confupdtype not in ('a', 'r')
            or has_table_privilege('artifact_server', confrelid, 'DELETE, TRUNCATE')
            or has_any_column_privilege('artifact_server', confrelid, 'UPDATE'))`
      expect([...found]).toEqual([])
    })

    test('has no function with the rights of its owner, and no view over the record', async () => {
      const found = await database.admin`
        select oid::regprocedure::text as thing from pg_proc
          where prosecdef and pronamespace not in (to_regnamespace('pg_catalog'), to_regnamespace('information_schema'))
        union all
        select oid::regclass::text from pg_class where relkind in ('v', 'm') and relnamespace = to_regnamespace('artifact')`
      expect([...found]).toEqual([])
    })

    test('lets the signer insert heads and keys, and change nothing at all', async () => {
      const found = await database.admin<{ name: string; granted: string }[]>`
        select table_name as name, string_agg(privilege_type, ', ' order by privilege_type) as granted
        from information_schema.role_table_grants where grantee = 'artifact_signer'
        group by table_name having string_agg(privilege_type, ', ') <> 'SELECT' order by 1`
      expect([...found]).toEqual([
        { name: 'log_checkpoint', granted: 'INSERT, SELECT' },
        { name: 'log_key', granted: 'INSERT, SELECT' },
      ])
    })

    test('guards every table on which the runtime role may insert and not delete, but for tokens and notes of its own', async () => {
      const found = await database.admin<{ name: string }[]>`
        select relname as name from pg_class
        where relnamespace = to_regnamespace('artifact') and relkind = 'r'
          and (has_table_privilege('artifact_server', oid, 'INSERT')
            or has_table_privilege('artifact_signer', oid, 'INSERT'))
          and not has_table_privilege('artifact_server', oid, 'DELETE') order by 1`
      // The notes say what is looked at next, and what was found last; they prove nothing.
      const expected = [...SEALED_TABLES, 'token', 'verification_turn', 'log_scrub'].sort()
      expect(found.map((row) => row.name)).toEqual(expected)
    })
  })
}

/** Tables of ours that the runtime role may change, and a harmless assignment to every column that it may. */
async function readMutableTables(admin: Sql) {
  return admin<{ name: string; deletes: boolean; updates: string }[]>`
    select c.oid::regclass::text as name, has_table_privilege('artifact_server', c.oid, 'DELETE') as deletes,
      coalesce((select string_agg(format('%1$I = %1$I', attname), ', ') from pg_attribute
        where attrelid = c.oid and attnum > 0 and has_column_privilege('artifact_server', c.oid, attnum, 'UPDATE')), '') as updates
    from pg_class c
    where relnamespace = to_regnamespace('artifact') and relkind = 'r'
      and (has_table_privilege('artifact_server', c.oid, 'DELETE, UPDATE, TRUNCATE')
        or has_any_column_privilege('artifact_server', c.oid, 'UPDATE'))
    order by c.oid desc`
}

async function reserve(sql: Sql) {
  const reserved = await sql.reserve()
  return {
    sql: reserved,
    async [Symbol.asyncDispose]() {
      reserved.release()
    },
  }
}

function shorten(statements: readonly string[]): string {
  const text = statements.join('; ').replaceAll(/\s+/g, ' ').trim()
  return text.length <= 110 ? text : `${text.slice(0, 60)} … ${text.slice(-45)}`
}
