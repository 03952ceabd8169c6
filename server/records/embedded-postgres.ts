/**
 * The embedded default: a real Postgres with all its roles, from programs that npm brought.
 *
 *     FOLDER/lock               held while Postgres runs
 *     FOLDER/data               PGDATA
 *     FOLDER/admin-password     of the superuser, 0600
 *     FOLDER/server-password    of artifact_server, 0600
 *     FOLDER/signer-password    of artifact_signer, 0600
 *     FOLDER/postgres.log       and postgres.log.1 of the start before
 *     FOLDER/postgres-VERSION   a copy of the programs, when they cannot run in place
 */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, chown, lstat, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { acquireLock } from '../../client/disk/lock.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { openDatabase } from './database.ts'
import { type Account, findAccount, openWay } from './embedded-postgres-account.ts'
import { type Binaries, findBinaries } from './embedded-postgres-binaries.ts'
import {
  bareEnvironment,
  type PostgresPlace,
  type RunningPostgres,
  startPostgres,
  stopOrphan,
} from './embedded-postgres-process.ts'

export interface EmbeddedPostgresOptions {
  /** Its own folder, made when missing. */
  folder: string
  /** Takes one sentence about something out of the ordinary. */
  log?: (message: string) => void
  /** Gives up the start. */
  signal?: AbortSignal
}

/** A running Postgres; disposing of it is {@link EmbeddedPostgres.stop}. */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** As superuser, in the database `artifact`. Holds a password. */
  readonly adminUrl: string
  /** As `artifact_server`, once `prepareDatabase` has set {@link serverPassword}. Holds a password. */
  readonly serverUrl: string
  readonly serverPassword: string
  /** As `artifact_signer`, once `prepareDatabase` has set {@link signerPassword}. Holds a password. */
  readonly signerUrl: string
  readonly signerPassword: string
  /** Settles when Postgres has ended, whoever ended it. */
  readonly ended: Promise<void>
  /** Ends connections and Postgres in good order; may be repeated. */
  stop(): Promise<void>
}

const SUPERUSER = 'postgres'
const DATABASE = 'artifact'
const run = promisify(execFile)

/**
 * Starts Postgres in `folder`, making the database there the first time. It listens on 127.0.0.1
 * alone, on a free port, and takes passwords only (SCRAM). When a killed server left its Postgres
 * running in this folder, that one is ended first. As root it runs as the account `postgres`.
 *
 * Throws `locked` when somebody else runs one in this folder, and `configuration` when it cannot run
 * here, with what to do about it.
 */
export async function startEmbeddedPostgres(
  options: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres> {
  const log = options.log ?? (() => {})
  const folder = resolve(options.folder)
  const account = await findAccount(log)
  await makeFolder(folder, account)
  await using opened = new AsyncDisposableStack()
  // Before anything else: what looks like an orphan is a neighbour's Postgres otherwise.
  opened.use(await acquireLock(join(folder, 'lock')))
  const binaries = await findBinaries(folder, account, log)
  const place: PostgresPlace = {
    binaries,
    account,
    dataFolder: join(folder, 'data'),
    logFile: join(folder, 'postgres.log'),
  }
  const adminPassword = await prepareData(folder, place)
  const orphan = await stopOrphan(place)
  if (orphan !== undefined) log(`ended Postgres ${orphan}, which a killed server had left running`)
  const running = await startPostgres(place, options.signal)
  opened.defer(running.stop)
  const urls = await describe(folder, running, adminPassword)
  await ensureDatabase(running, adminPassword)
  const owned = opened.move()
  let stopping: Promise<void> | undefined
  const stop = () => (stopping ??= owned.disposeAsync())
  return { ...urls, ended: running.ended, stop, [Symbol.asyncDispose]: stop }
}

async function makeFolder(folder: string, account: Account | undefined): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if (account === undefined) return
  await openWay(folder, account)
  // The account passes through to its data; what lies beside that is root's.
  await chown(folder, 0, account.gid)
  await chmod(folder, 0o710)
}

/** Makes PGDATA when there is none; returns the superuser's password. */
async function prepareData(folder: string, place: PostgresPlace): Promise<string> {
  const passwordFile = join(folder, 'admin-password')
  if (!(await exists(place.dataFolder))) {
    const password = await readOrMakeSecret(passwordFile)
    await initialise(folder, place, password)
    return password
  }
  await checkMajor(place)
  if (!(await exists(passwordFile)))
    throw new ArtifactError(
      'configuration',
      `Cannot start the embedded database: ${passwordFile} is missing; restore it`,
    )
  return readOrMakeSecret(passwordFile)
}

/** PGDATA takes its name when it is whole, so a crash in here leaves nothing that looks like one. */
async function initialise(folder: string, place: PostgresPlace, password: string): Promise<void> {
  const { binaries, account } = place
  const staging = `${place.dataFolder}.new`
  const passwordFile = join(folder, 'initdb-password')
  await rm(staging, { recursive: true, force: true })
  await rm(passwordFile, { force: true })
  try {
    await mkdir(staging, { mode: 0o700 })
    await writeFile(passwordFile, password, { flag: 'wx', mode: 0o600 })
    if (account !== undefined)
      for (const path of [staging, passwordFile]) await chown(path, account.uid, account.gid)
    await run(
      binaries.initdb,
      [
        ...['-D', staging, '--username', SUPERUSER, '--pwfile', passwordFile],
        ...['--auth', 'scram-sha-256', '--encoding', 'UTF8', '--locale', 'C'],
        ...['--data-checksums', '--no-instructions'],
      ],
      { ...account, ...bareEnvironment, cwd: staging },
    )
    await rename(staging, place.dataFolder)
  } catch (error) {
    await rm(staging, { recursive: true, force: true })
    throw new ArtifactError(
      'configuration',
      `Cannot make the embedded database in ${folder}: ${describeFailure(error)}`,
      { cause: error },
    )
  } finally {
    await rm(passwordFile, { force: true })
  }
}

async function checkMajor(place: PostgresPlace): Promise<void> {
  const found = (await readFile(join(place.dataFolder, 'PG_VERSION'), 'utf8')).trim()
  const expected = majorOf(place.binaries)
  if (found !== expected)
    throw new ArtifactError(
      'configuration',
      `Cannot start the embedded database: ${place.dataFolder} was made by PostgreSQL ${found}, this program brings ${expected}; ` +
        `dump it with PostgreSQL ${found} and restore it into a new data folder, or go back to the version of this program that made it`,
      { expected: `PostgreSQL ${expected}`, found: `PostgreSQL ${found}` },
    )
}

const majorOf = (binaries: Binaries) => String(binaries.major)

async function describe(folder: string, running: RunningPostgres, adminPassword: string) {
  const serverPassword = await readOrMakeSecret(join(folder, 'server-password'))
  const signerPassword = await readOrMakeSecret(join(folder, 'signer-password'))
  return {
    adminUrl: formatUrl(SUPERUSER, adminPassword, running.port, DATABASE),
    serverUrl: formatUrl('artifact_server', serverPassword, running.port, DATABASE),
    serverPassword,
    signerUrl: formatUrl('artifact_signer', signerPassword, running.port, DATABASE),
    signerPassword,
  }
}

/** Secrets are base64url: nothing in them needs to be escaped. */
function formatUrl(user: string, password: string, port: number, database: string): string {
  return `postgres://${user}:${password}@127.0.0.1:${port}/${database}?sslmode=disable`
}

async function ensureDatabase(running: RunningPostgres, adminPassword: string): Promise<void> {
  const url = formatUrl(SUPERUSER, adminPassword, running.port, 'postgres')
  await using maintenance = await openDatabase({ url, connectionsMax: 1 })
  const { sql } = maintenance
  const [found] = await sql`select from pg_database where datname = ${DATABASE}`
  if (found === undefined) await sql`create database ${sql(DATABASE)}`
}

/** 256 random bits, kept in a file that only we can read; whole or not there. */
async function readOrMakeSecret(path: string): Promise<string> {
  if (!(await exists(path))) {
    const staging = `${path}.new`
    await rm(staging, { force: true })
    await writeFile(staging, randomBytes(32).toString('base64url'), {
      flag: 'wx',
      mode: 0o600,
      flush: true,
    })
    await rename(staging, path)
  }
  return (await readFile(path, 'utf8')).trim()
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  )
}

function describeFailure(error: unknown): string {
  const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : ''
  if (stderr !== '') return stderr.split('\n').slice(-5).join('\n')
  return error instanceof Error ? error.message : String(error)
}
