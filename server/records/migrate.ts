/**
 * Migrations: the files `sql/NNNN_slug.sql`, forward only, each once, in order.
 *
 * They run as `artifact_owner`, each in a transaction of its own together with its row in
 * `artifact.migration`, under an advisory lock: any number of servers may start at once, and a crash
 * leaves whole files behind or none.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { ArtifactError } from '../../schemas/problems.ts'
import { type AnySql, type Sql, sqlState, type Transaction } from './database.ts'

/** Where the SQL of this program lies. */
export const SQL_FOLDER = new URL('../../sql/', import.meta.url)

export interface Migration {
  /** From 1, without gaps. */
  version: number
  name: string
  /** Hexadecimal, of the text with LF as line end, however it was checked out. */
  sha256: string
  text: string
}

interface AppliedMigration {
  version: number
  name: string
  sha256: string
}

/** Key of the advisory lock ("migr"). */
const MIGRATION_LOCK = 0x6d_69_67_72

const LEDGER = `
create table if not exists artifact.migration (
  version integer primary key check (version > 0),
  name text not null,
  sha256 bytea not null check (octet_length(sha256) = 32),
  applied_at timestamptz not null default now()
);
comment on table artifact.migration is 'Migrations that were applied, with the SHA-256 of their text.';
revoke all on artifact.migration from public, artifact_server, artifact_signer, artifact_reader;
grant select on artifact.migration to artifact_server, artifact_signer, artifact_reader;`

/** Reads the migrations of a folder in order. A gap or a file with another shape of name is a bug of the package. */
export async function readMigrations(folder: URL = SQL_FOLDER): Promise<Migration[]> {
  const files = (await readdir(folder)).filter((file) => /^\d/.test(file)).sort()
  return Promise.all(
    files.map(async (file, index) => {
      const [, number, name] = /^(\d{4})_([a-z0-9_]+)\.sql$/.exec(file) ?? []
      if (name === undefined || Number(number) !== index + 1)
        throw new Error(`Cannot read migrations: expected number ${index + 1}, found ${file}`)
      const text = (await readFile(new URL(file, folder), 'utf8')).replaceAll('\r\n', '\n')
      const sha256 = createHash('sha256').update(text).digest('hex')
      return { version: index + 1, name, sha256, text }
    }),
  )
}

/**
 * Applies what is missing and returns the names of what it applied. `sql` logs in as a role that may
 * become `artifact_owner`; another one is fine as long as nothing is missing.
 *
 * Throws `configuration` when the role may not migrate and the schema is behind, when an applied file
 * has another text here, and when the database is newer than this program. Nothing is changed then.
 */
export async function migrate(sql: Sql, migrations?: readonly Migration[]): Promise<string[]> {
  const wanted = migrations ?? (await readMigrations())
  const applied: string[] = []
  if (!(await mayBecomeOwner(sql))) {
    await checkSchema(sql, wanted)
    return applied
  }
  for (;;) {
    const migration = await applyNext(sql, wanted)
    if (migration === undefined) return applied
    applied.push(`${String(migration.version).padStart(4, '0')}_${migration.name}`)
  }
}

/** For a server that does not migrate: throws `configuration` unless the schema is the one that this program knows. */
export async function checkSchema(sql: Sql, migrations?: readonly Migration[]): Promise<void> {
  const wanted = migrations ?? (await readMigrations())
  const next = findNext(await readLedger(sql), wanted)
  if (next !== undefined)
    throw outOfDate('its schema is behind', wanted, `schema version ${next.version - 1}`)
}

async function mayBecomeOwner(sql: Sql): Promise<boolean> {
  // A role that does not exist is nobody's.
  const [row] = await sql<[{ may: boolean }]>`
    select coalesce(pg_has_role(current_user, to_regrole('artifact_owner')::oid, ${await setPrivilege(sql)}), false) as may`
  return row.may
}

/** Membership that allows SET ROLE has a name of its own since version 16. */
async function setPrivilege(sql: Sql): Promise<'SET' | 'MEMBER'> {
  const [row] = await sql<[{ since16: boolean }]>`
    select current_setting('server_version_num')::int >= 160000 as since16`
  return row.since16 ? 'SET' : 'MEMBER'
}

async function applyNext(
  sql: Sql,
  migrations: readonly Migration[],
): Promise<Migration | undefined> {
  return sql.begin(async (tx) => {
    await beginAsOwner(tx, migrations)
    const next = findNext(await readLedger(tx), migrations)
    if (next === undefined) return undefined
    await tx.unsafe(next.text)
    await tx`
      insert into artifact.migration (version, name, sha256)
      values (${next.version}, ${next.name}, ${Buffer.from(next.sha256, 'hex')})`
    return next
  })
}

async function beginAsOwner(tx: Transaction, migrations: readonly Migration[]): Promise<void> {
  await tx.unsafe('set local role artifact_owner; set local search_path = pg_catalog')
  // Twenty servers wait for the one that migrates, however long that takes.
  await tx.unsafe(
    'set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0',
  )
  await tx`select pg_advisory_xact_lock(${MIGRATION_LOCK})`
  const [schema] = await tx`select from pg_namespace where nspname = 'artifact'`
  if (schema === undefined)
    throw outOfDate('it is not prepared', migrations, 'no schema "artifact"')
  const [ledger] = await tx`select where to_regclass('artifact.migration') is not null`
  if (ledger === undefined) await tx.unsafe(LEDGER)
}

async function readLedger(sql: AnySql): Promise<AppliedMigration[]> {
  try {
    return await sql<AppliedMigration[]>`
      select version, name, encode(sha256, 'hex') as sha256 from artifact.migration order by version`
  } catch (error) {
    switch (sqlState(error)) {
      case '42P01':
      case '3F000':
        return []
      case '42501':
        throw new ArtifactError(
          'configuration',
          'Cannot use the database: its role may not read artifact.migration; log in as artifact_server',
          { cause: error },
        )
      default:
        throw error
    }
  }
}

/** The first migration that is missing; throws when what was applied is not a beginning of what is known. */
function findNext(
  applied: readonly AppliedMigration[],
  migrations: readonly Migration[],
): Migration | undefined {
  for (const [index, row] of applied.entries()) {
    const known = migrations[index]
    if (known === undefined)
      throw new ArtifactError(
        'configuration',
        'Cannot use the database: a newer version of this program has migrated it; use that version',
        {
          expected: `schema version ${migrations.length}`,
          found: `schema version ${applied.at(-1)?.version}`,
        },
      )
    if (known.version !== row.version || known.sha256 !== row.sha256)
      throw new ArtifactError(
        'configuration',
        `Cannot use the database: migration ${row.version} (${row.name}) is not the one of this program`,
        { expected: `SHA-256 ${known.sha256}`, found: `SHA-256 ${row.sha256}` },
      )
  }
  return migrations[applied.length]
}

function outOfDate(state: string, migrations: readonly Migration[], found: string): ArtifactError {
  return new ArtifactError(
    'configuration',
    `Cannot use the database: ${state}, and its role may not migrate it; ` +
      'give one server --migration-url, an address whose role may become artifact_owner',
    { expected: `schema version ${migrations.length}`, found },
  )
}
