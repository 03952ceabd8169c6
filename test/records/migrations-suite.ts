/** What holds of migrations on every Postgres; run against the embedded one and against containers. */
import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { openDatabase } from '../../server/records/database.ts'
import {
  checkSchema,
  type Migration,
  migrate,
  readMigrations,
  SQL_FOLDER,
} from '../../server/records/migrate.ts'
import { checkPrivileges } from '../../server/records/privileges.ts'
import { prepareDatabase, rolesSql } from '../../server/records/roles.ts'
import {
  type Cluster,
  createDatabase,
  createEmptyDatabase,
  createTestRole,
  withDatabase,
} from '../support/postgres-cluster.ts'
import { dumpSchema } from '../support/schema-dump.ts'

const SERVERS = 20

export function describeMigrations(findCluster: () => Cluster): void {
  const bare = () => createEmptyDatabase(findCluster().adminUrl)

  describe('prepareDatabase()', () => {
    test('prepares a bare database, and finds nothing to do the second time', async () => {
      await using database = await bare()
      const names = (await readMigrations()).map((row) => expect.stringContaining(row.name))
      expect(await prepareDatabase(database.admin)).toEqual(names)
      expect(await prepareDatabase(database.admin)).toEqual([])
      await checkSchema(database.admin)
    })

    test('applies each file once when twenty servers start at once', async () => {
      await using database = await bare()
      await using opened = new AsyncDisposableStack()
      const servers = await Promise.all(
        Array.from({ length: SERVERS }, async () =>
          opened.use(await openDatabase({ url: database.adminUrl, connectionsMax: 1 })),
        ),
      )
      const applied = await Promise.all(servers.map(({ sql }) => prepareDatabase(sql)))
      const migrations = await readMigrations()
      expect(applied.flat()).toHaveLength(migrations.length)
      const rows = await database.admin`
        select version, name, encode(sha256, 'hex') as sha256 from artifact.migration order by version`
      expect([...rows]).toEqual(
        migrations.map(({ version, name, sha256 }) => ({ version, name, sha256 })),
      )
    })

    test('runs whole as an administrator who is no superuser', async () => {
      await using database = await bare()
      await using role = await createTestRole(database.admin, 'createrole')
      await database.admin.unsafe(`alter database ${database.name} owner to ${role.name}`)
      await database.admin.unsafe(`grant artifact_owner to ${role.name} with admin option`)
      await using other = await openDatabase({ url: role.url(database.adminUrl) })
      expect(await prepareDatabase(other.sql)).toHaveLength((await readMigrations()).length)
    })

    test('refuses a schema that belongs to somebody else', async () => {
      await using database = await bare()
      await database.admin`create schema artifact`
      await expect(prepareDatabase(database.admin)).rejects.toMatchObject({
        code: 'configuration',
        message: expect.stringContaining('the schema "artifact" belongs to'),
      })
    })
  })

  describe('rolesSql()', () => {
    test('lets a role that is no administrator migrate afterwards', async () => {
      await using database = await bare()
      await database.admin.unsafe(await rolesSql())
      await using role = await createTestRole(database.admin)
      await database.admin.unsafe(`grant artifact_owner to ${role.name}`)
      await using other = await openDatabase({ url: role.url(database.adminUrl) })
      expect(await prepareDatabase(other.sql)).toHaveLength((await readMigrations()).length)
    })

    test('leaves a runtime role that the server accepts, when run twice', async () => {
      await using database = await bare()
      await database.admin.unsafe(await rolesSql())
      await database.admin.unsafe(await rolesSql())
      await migrate(database.admin)
      const { serverPassword } = findCluster()
      const url = withDatabase(database.adminUrl, database.name, 'artifact_server', serverPassword)
      await using server = await openDatabase({ url })
      await checkSchema(server.sql)
      await checkPrivileges(server.sql)
    })
  })

  describe('migrate()', () => {
    test('says what to do when the role may not migrate a database that is behind', async () => {
      await using database = await bare()
      await database.admin.unsafe(await rolesSql())
      const { serverPassword } = findCluster()
      const url = withDatabase(database.adminUrl, database.name, 'artifact_server', serverPassword)
      await using server = await openDatabase({ url })
      await expect(migrate(server.sql)).rejects.toMatchObject({
        code: 'configuration',
        message: expect.stringContaining('whose role may become artifact_owner'),
        found: 'schema version 0',
      })
    })

    test('is content with a role that may not migrate when nothing is missing', async () => {
      await using database = await createDatabase(findCluster())
      expect(await migrate(database.server)).toEqual([])
    })

    test('refuses a database whose applied file has another text', async () => {
      await using database = await createDatabase(findCluster())
      const migrations = await readMigrations()
      const changed = migrations.map(
        (row): Migration => (row.version === 2 ? { ...row, sha256: '0'.repeat(64) } : row),
      )
      for (const sql of [database.admin, database.server])
        await expect(migrate(sql, changed)).rejects.toMatchObject({
          code: 'configuration',
          message: expect.stringMatching(/migration 2 \(\w+\) is not the one of this program/),
          expected: `SHA-256 ${'0'.repeat(64)}`,
          found: `SHA-256 ${migrations[1]?.sha256}`,
        })
    })

    test('refuses a database newer than the program', async () => {
      await using database = await createDatabase(findCluster())
      const migrations = await readMigrations()
      const older = migrations.slice(0, -1)
      for (const sql of [database.admin, database.server])
        await expect(migrate(sql, older)).rejects.toMatchObject({
          code: 'configuration',
          message: expect.stringContaining('a newer version of this program'),
          expected: `schema version ${older.length}`,
          found: `schema version ${migrations.length}`,
        })
    })

    test('leaves nothing of a file that fails half way', async () => {
      await using database = await createDatabase(findCluster())
      const migrations = await readMigrations()
      const broken: Migration = {
        version: migrations.length + 1,
        name: 'broken',
        sha256: '0'.repeat(64),
        text: 'create table artifact.half (id integer); select 1 / 0;',
      }
      await expect(migrate(database.admin, [...migrations, broken])).rejects.toMatchObject({
        code: '22012',
      })
      const [row] = await database.admin`select to_regclass('artifact.half') as half`
      expect(row).toEqual({ half: null })
      await checkSchema(database.server)
    })
  })

  describe('checkSchema()', () => {
    test('reports a database that nobody has prepared', async () => {
      await using database = await bare()
      await expect(checkSchema(database.admin)).rejects.toMatchObject({ code: 'configuration' })
    })

    test('reports a role that may not read the ledger', async () => {
      await using database = await createDatabase(findCluster())
      await using role = await createTestRole(database.admin)
      await using other = await openDatabase({ url: role.url(database.adminUrl) })
      await expect(checkSchema(other.sql)).rejects.toMatchObject({
        code: 'configuration',
        message: expect.stringContaining('log in as artifact_server'),
      })
    })
  })

  describe('sql/schema.sql', () => {
    test('is what a fresh migration makes (npm run schema rewrites it)', async () => {
      await using database = await createDatabase(findCluster())
      const recorded = await readFile(new URL('schema.sql', SQL_FOLDER), 'utf8')
      expect(await dumpSchema(database.admin)).toBe(recorded.replaceAll('\r\n', '\n'))
    })

    test('makes the same schema when it is run', async () => {
      await using database = await bare()
      await database.admin.unsafe(await rolesSql())
      const recorded = await readFile(new URL('schema.sql', SQL_FOLDER), 'utf8')
      await database.admin.begin(async (tx) => {
        await tx.unsafe(recorded)
      })
      const withoutRemarks = (text: string) => text.replaceAll(/^-- .*\n/gm, '')
      expect(withoutRemarks(await dumpSchema(database.admin))).toBe(withoutRemarks(recorded))
    })
  })
}
