/** The roles of the service, and the first steps in a database. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { ArtifactError } from '../../schemas/problems.ts'
import { type Sql, sqlState } from './database.ts'
import { migrate, SQL_FOLDER } from './migrate.ts'

export interface PrepareOptions {
  /** Gives `artifact_server` this password; printable ASCII. */
  serverPassword?: string | undefined
  /** Gives `artifact_signer` this password; printable ASCII. */
  signerPassword?: string | undefined
  /** Gives `artifact_reader` this password; printable ASCII. */
  readerPassword?: string | undefined
}

/** Key of the advisory lock ("prep"). */
const PREPARE_LOCK = 0x70_72_65_70

/**
 * Makes roles, schema and tables, whatever of them is missing, and returns the names of the migrations
 * it applied. `sql` logs in as an administrator (a superuser, or the owner of the database with
 * CREATEROLE), or as a role that may become `artifact_owner` when an administrator has run
 * {@link rolesSql}. May be repeated, and by many at once.
 *
 * Throws `configuration` when the role may not do it, or somebody else owns the schema `artifact`.
 */
export async function prepareDatabase(sql: Sql, options: PrepareOptions = {}): Promise<string[]> {
  if (await isAdministrator(sql)) await makeRoles(sql, options)
  return migrate(sql)
}

/** What an administrator runs in the database beforehand, with psql or anything else. */
export async function rolesSql(): Promise<string> {
  const [roles, database] = await Promise.all([readSql('roles.sql'), readSql('database.sql')])
  return `${roles}\n${database}`
}

async function isAdministrator(sql: Sql): Promise<boolean> {
  const [role] = await sql<[{ may: boolean }]>`
    select rolsuper or rolcreaterole as may from pg_roles where rolname = current_user`
  return role.may
}

async function makeRoles(sql: Sql, options: PrepareOptions): Promise<void> {
  const text = await rolesSql()
  try {
    await sql.begin(async (tx) => {
      await tx`select pg_advisory_xact_lock(${PREPARE_LOCK})`
      await tx.unsafe(text)
      const passwords = [
        ['artifact_server', options.serverPassword],
        ['artifact_signer', options.signerPassword],
        ['artifact_reader', options.readerPassword],
      ] as const
      for (const [role, password] of passwords)
        if (password !== undefined)
          await tx.unsafe(`alter role ${role} password '${formatVerifier(password)}'`)
    })
  } catch (error) {
    if (!['42501', '42P06'].includes(sqlState(error) ?? '')) throw error
    const state = error instanceof Error ? error.message : String(error)
    throw new ArtifactError('configuration', `Cannot prepare the database: ${state}`, {
      cause: error,
    })
  }
}

/**
 * What Postgres keeps of a password (RFC 5803 as PostgreSQL writes it), so that the password itself
 * is neither sent nor logged. Salt and keys are base64: nothing in it ends a SQL literal.
 */
function formatVerifier(password: string): string {
  const salt = randomBytes(16)
  const iterations = 4096
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  const clientKey = createHmac('sha256', salted).update('Client Key').digest()
  const storedKey = createHash('sha256').update(clientKey).digest('base64')
  const serverKey = createHmac('sha256', salted).update('Server Key').digest('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`
}

async function readSql(file: string): Promise<string> {
  return readFile(new URL(file, SQL_FOLDER), 'utf8')
}
