/** The connection to Postgres. What postgres.js calls things stays in this folder. */
import postgres from 'postgres'
import { ArtifactError } from '../../schemas/problems.ts'
import { parseDatabaseUrl } from './database-url.ts'

type Types = { bigint: bigint }

/** A pool of connections. `bigint` columns are JavaScript bigints, `bytea` columns are Buffers. */
export type Sql = postgres.Sql<Types>
/** One connection within `sql.begin`. */
export type Transaction = postgres.TransactionSql<Types>
/** For a statement that may run on its own or within a transaction. */
export type AnySql = postgres.ISql<Types>

export interface DatabaseOptions {
  /** `postgres://user:password@host:port/database?sslmode=…`; see {@link parseDatabaseUrl}. */
  url: string
  /** Most connections at a time [10]. */
  connectionsMax?: number
  /** What `pg_stat_activity` shows [artifact]. */
  applicationName?: string
  /** [10] */
  connectTimeoutSeconds?: number
  /** After this long the server cancels a statement; 0: never [30]. */
  statementTimeoutSeconds?: number
  /** After this long without a statement the server ends a transaction and its connection; 0: never [60]. */
  idleTransactionTimeoutSeconds?: number
}

/** An open database; disposing of it waits up to five seconds for statements under way. */
export interface Database extends AsyncDisposable {
  readonly sql: Sql
}

/** The oldest Postgres that checks privileges as this program needs them checked. */
export const POSTGRES_MIN = 15

/**
 * Connects, and proves it with one statement. Every connection has `search_path = pg_catalog`: a
 * statement that forgets to name its schema fails rather than finds what someone else put in the way.
 *
 * Throws `configuration` when the address, the credentials, the certificate or the version of the
 * server will not do, `database_unavailable` when it does not answer.
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const { address, tls } = await parseDatabaseUrl(options.url)
  const sql: Sql = postgres(address, {
    ssl: tls,
    max: options.connectionsMax ?? 10,
    connect_timeout: options.connectTimeoutSeconds ?? 10,
    idle_timeout: 60,
    onnotice: () => {},
    types: { bigint: postgres.BigInt },
    connection: {
      application_name: options.applicationName ?? 'artifact',
      search_path: 'pg_catalog',
      client_encoding: 'UTF8',
      statement_timeout: (options.statementTimeoutSeconds ?? 30) * 1000,
      idle_in_transaction_session_timeout: (options.idleTransactionTimeoutSeconds ?? 60) * 1000,
    },
  })
  try {
    await checkVersion(sql)
  } catch (error) {
    await sql.end({ timeout: 0 })
    throw toOpenProblem(error)
  }
  return {
    sql,
    async [Symbol.asyncDispose]() {
      await sql.end({ timeout: 5 })
    },
  }
}

/** Throws `database_unavailable` when the database does not answer a statement now. */
export async function checkDatabase(sql: Sql): Promise<void> {
  try {
    await sql`select 1`
  } catch (error) {
    throw toDatabaseProblem(error)
  }
}

/**
 * An error of a statement as the caller of the service may see it: `database_unavailable` for what
 * passes (a lost connection, a restart, a timeout, a deadlock), else the error itself, which is a bug.
 */
export function toDatabaseProblem(error: unknown): unknown {
  const code = codeOf(error)
  if (code === undefined || !(PASSING_CODES.has(code) || PASSING_STATES.test(code))) return error
  return new ArtifactError('database_unavailable', `Cannot use the database: ${code}`, {
    cause: error,
  })
}

/** The SQLSTATE of an error that Postgres sent, else `undefined`. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof postgres.PostgresError ? error.code : undefined
}

/** Errors of sockets and of postgres.js. */
const PASSING_CODES = new Set([
  'CONNECT_TIMEOUT',
  'CONNECTION_CLOSED',
  'CONNECTION_DESTROYED',
  'CONNECTION_ENDED',
  'EAI_AGAIN',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EPIPE',
  'ETIMEDOUT',
])

/**
 * SQLSTATEs (PostgreSQL manual, appendix A): connection exceptions, read-only after a failover, idle
 * too long, rolled back by a rival, out of resources, and intervention of the operator.
 */
const PASSING_STATES = /^(08...|25006|25P03|40001|40P01|53...|55P03|57...)$/

/** SQLSTATEs that a person must act upon: credentials, and a database that is not there. */
const SETTING_STATES = /^(28...|3D000|42501)$/

async function checkVersion(sql: Sql): Promise<void> {
  const [row] = await sql<[{ version: number; name: string }]>`
    select current_setting('server_version_num')::int as version,
      current_setting('server_version') as name`
  if (row.version < POSTGRES_MIN * 10_000)
    throw new ArtifactError('configuration', 'Cannot use the database: its Postgres is too old', {
      expected: `PostgreSQL ${POSTGRES_MIN} or later`,
      found: `PostgreSQL ${row.name}`,
    })
}

function toOpenProblem(error: unknown): unknown {
  if (error instanceof ArtifactError) return error
  const code = codeOf(error)
  if (code === undefined || !(error instanceof Error)) return error
  // Node's names for what is wrong with a certificate.
  const isCertificate = /CERT|_SIGNATURE$|^ERR_TLS|^ERR_SSL|^EPROTO$/.test(code)
  if (isCertificate || SETTING_STATES.test(code))
    return new ArtifactError('configuration', `Cannot open the database: ${error.message}`, {
      cause: error,
    })
  return toDatabaseProblem(error)
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined
}
