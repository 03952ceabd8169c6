/**
 * What a server stands on: its data folder, the database as the role that cannot rewrite history, and
 * the store. Opened in this order and let go in reverse.
 */
import { Buffer } from 'node:buffer'
import type { Clock } from './clock.ts'
import { type Config, readSecretFile, type Secrets } from './config.ts'
import { keepGrantSecret, takeDataFolder } from './data-folder.ts'
import { runSigner } from './log/run-signer.ts'
import type { Logger } from './logger.ts'
import { openDatabase, type Sql } from './records/database.ts'
import { startEmbeddedPostgres } from './records/embedded-postgres.ts'
import { checkSchema } from './records/migrate.ts'
import { createPackIndex } from './records/packs.ts'
import { checkPrivileges } from './records/privileges.ts'
import { type PrepareOptions, prepareDatabase } from './records/roles.ts'
import { releaseAllVerifying } from './records/upload-endings.ts'
import { type AnyStore, openStore, parseStoreAddress } from './stores/open-store.ts'

export interface HoldingsOptions {
  config: Config
  secrets: Secrets
  log: Logger
  clock: Clock
  /** Hears when the database is gone for good. */
  onFailure: (error: unknown) => void
  /** Whether the log is signed too, where this process can [true]. */
  isSigner?: boolean
}

export interface Holdings extends AsyncDisposable {
  readonly sql: Sql
  readonly store: AnyStore
}

/** Opens what a server stands on. Throws as `startServer` does, and has let go of everything then. */
export async function openHoldings(options: HoldingsOptions): Promise<Holdings> {
  const { config, clock } = options
  await using stack = new AsyncDisposableStack()
  const isLocal = config.database.kind === 'embedded' || config.store.kind === 'filesystem'
  if (isLocal) stack.use(await takeDataFolder(config.dataFolder))
  const sql = await openRecords(stack, options)
  const store = stack.use(await openConfiguredStore(config, sql, clock))
  const held = stack.move()
  return { sql, store, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

/** The database as the runtime role: prepared, up to date, and unable to rewrite history. */
async function openRecords(
  stack: AsyncDisposableStack,
  { config, secrets, log, onFailure, isSigner = true }: HoldingsOptions,
): Promise<Sql> {
  let { databaseUrl: url, signerUrl } = secrets
  let connectionsMax: number | undefined
  if (config.database.kind === 'embedded') {
    const postgres = stack.use(
      await startEmbeddedPostgres({
        folder: config.database.folder,
        log: (message) => log.info(message),
      }),
    )
    const watch = postgres.ended.then(() => onFailure(new Error('The embedded Postgres has ended')))
    watch.catch(onFailure)
    await prepare(postgres.adminUrl, log, postgres)
    url = postgres.serverUrl
    signerUrl = postgres.signerUrl
  } else {
    connectionsMax = config.database.connectionsMax
    if (secrets.migrationUrl !== undefined) await prepare(secrets.migrationUrl, log)
  }
  if (url === undefined) throw new Error('A database address is configured and missing')
  const { sql } = stack.use(
    await openDatabase({ url, ...(connectionsMax === undefined ? {} : { connectionsMax }) }),
  )
  await checkSchema(sql)
  await checkPrivileges(sql)
  // The data folder is ours alone, and so is this Postgres: who verified before is dead.
  if (config.database.kind === 'embedded') await releaseAllVerifying(sql)
  if (isSigner && signerUrl !== undefined)
    stack.use(await runSigner({ ...config.signer, databaseUrl: signerUrl, log }))
  return sql
}

/** Migrates as a role that may, and lets go of that role before anything is served. */
async function prepare(url: string, log: Logger, passwords: PrepareOptions = {}): Promise<void> {
  await using admin = await openDatabase({ url, connectionsMax: 2, statementTimeoutSeconds: 0 })
  const applied = await prepareDatabase(admin.sql, {
    serverPassword: passwords.serverPassword,
    signerPassword: passwords.signerPassword,
  })
  for (const name of applied) log.info({ migration: name }, 'migrated')
}

async function openConfiguredStore(config: Config, sql: Sql, clock: Clock): Promise<AnyStore> {
  const { store, grants } = config
  const isS3 = store.kind === 's3'
  return openStore(parseStoreAddress(store.address), {
    clock,
    grantSecret: isS3 ? new Uint8Array(32) : await readGrantSecret(config.dataFolder, grants),
    s3: {
      region: isS3 ? store.region : '',
      endpoint: isS3 ? store.endpoint : undefined,
      forcePathStyle: isS3 && store.pathStyle,
      packs: createPackIndex(sql, clock),
    },
  })
}

async function readGrantSecret(
  dataFolder: string,
  { secretFile }: Config['grants'],
): Promise<Uint8Array> {
  if (secretFile === undefined) return keepGrantSecret(dataFolder)
  return Buffer.from(await readSecretFile(secretFile))
}
