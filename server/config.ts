/**
 * Configuration in three steps: what was said (flags, then the environment) -> {@link Config}, total
 * and checked -> {@link Secrets}, apart, so that a config can be logged and a secret cannot.
 *
 * The only file of the server that reads the environment.
 */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import type { SealPolicy } from '../schemas/primitives.ts'
import { ArtifactError } from '../schemas/problems.ts'
import {
  flagOf,
  isSecret,
  type LogLevel,
  parseSettings,
  type RawSettings,
  type Said,
  type SettingKey,
  settingKeys,
  variableOf,
} from './settings.ts'

export type DatabaseConfig =
  | { kind: 'embedded'; folder: string }
  | { kind: 'url'; connectionsMax: number }

export type StoreConfig =
  | { kind: 'filesystem'; address: string }
  | {
      kind: 's3'
      address: string
      endpoint: string | undefined
      region: string
      pathStyle: boolean
    }

/** Everything that the server needs to know and may say. */
export interface Config {
  dataFolder: string
  /** Where the local profile goes; `undefined`: nowhere. */
  profileFolder: string | undefined
  listen: { host: string; port: number }
  /** The signer of the log; it runs in this process with the embedded Postgres, or with a signer URL. */
  signer: { folder: string; origin: string | undefined; witnessPolicyFile: string | undefined }
  database: DatabaseConfig
  store: StoreConfig
  access: { publicRead: boolean; adminTokenFile: string | undefined }
  grants: { ttlSeconds: number; secretFile: string | undefined }
  uploads: {
    partSizeBytes: number
    sizeBytesMax: bigint
    openMax: number
    ttlSeconds: number
    policy: SealPolicy
    rereadConcurrency: number
  }
  requestMemoryBytes: number
  events: { watchersMax: number; ttlSeconds: number }
  sweepSeconds: number
  reverify: { days: number; bytesPerSecond: number }
  shutdownSeconds: number
  logLevel: LogLevel
}

/** What the server must know and may never say. */
export interface Secrets {
  /** `undefined` with the embedded Postgres, which keeps its own. */
  databaseUrl: string | undefined
  migrationUrl: string | undefined
  /** `undefined`: no signer in this process, unless Postgres is embedded. */
  signerUrl: string | undefined
  toJSON(): string
}

/** What flags and environment say together; flags win. Throws `configuration` for a secret on the command line. */
export function readSettings(
  flags: RawSettings,
  environment: Record<string, string | undefined> = process.env,
): RawSettings {
  const settings: RawSettings = {}
  for (const key of settingKeys()) {
    const given = flags[key]
    if (given !== undefined) checkFlag(key, given)
    const said = given ?? (environment[variableOf(key)] || undefined)
    if (said !== undefined) settings[key] = said
  }
  return settings
}

/** The configuration. Throws `configuration` naming the setting, what was expected and what was found. */
export function buildConfig(raw: RawSettings, folders: { profile: string }): Config {
  const said = parseSettings(raw)
  const dataFolder = resolve(said.dataDir ?? defaultDataFolder())
  const hasUrl = (said.databaseUrl ?? said.databaseUrlFile) !== undefined
  return {
    dataFolder,
    profileFolder: said.noProfile ? undefined : folders.profile,
    listen: { host: said.host, port: said.port },
    signer: {
      folder: resolve(said.signerDir ?? join(dataFolder, 'signer')),
      origin: said.logOrigin,
      witnessPolicyFile: said.witnessPolicyFile,
    },
    database: hasUrl
      ? { kind: 'url', connectionsMax: said.databaseConnections }
      : { kind: 'embedded', folder: join(dataFolder, 'postgres') },
    store: buildStore(said.store ?? `file:${join(dataFolder, 'store')}`, said),
    access: { publicRead: said.publicRead, adminTokenFile: said.adminTokenFile },
    grants: { ttlSeconds: said.grantTtlSeconds, secretFile: said.grantSecretFile },
    uploads: {
      partSizeBytes: said.partSizeBytes,
      sizeBytesMax: said.sizeBytesMax,
      openMax: said.openUploadsMax,
      ttlSeconds: said.uploadTtlSeconds,
      policy: said.sealPolicy,
      rereadConcurrency: said.rereadConcurrency,
    },
    requestMemoryBytes: said.requestMemoryBytes,
    events: { watchersMax: said.watchersMax, ttlSeconds: said.eventTtlSeconds },
    sweepSeconds: said.sweepSeconds,
    reverify: { days: said.reverifyDays, bytesPerSecond: said.reverifyBytesPerSecond },
    shutdownSeconds: said.shutdownSeconds,
    logLevel: said.logLevel,
  }
}

/** Reads the secrets, from files where files are named. Throws `configuration`. */
export async function readSecrets(raw: RawSettings): Promise<Secrets> {
  return {
    databaseUrl: await readSecret('databaseUrl', raw.databaseUrl, raw.databaseUrlFile),
    migrationUrl: await readSecret('migrationUrl', raw.migrationUrl, raw.migrationUrlFile),
    signerUrl: await readSecret('signerUrl', raw.signerUrl, raw.signerUrlFile),
    toJSON: () => '[secrets]',
  }
}

/** Text of a small secret file, without the line end. Throws `configuration`. */
export async function readSecretFile(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (cause) {
    throw new ArtifactError('configuration', `Cannot read ${path}: it cannot be opened`, { cause })
  }
}

function buildStore(address: string, said: Said): StoreConfig {
  if (address.startsWith('file:')) return { kind: 'filesystem', address }
  if (address.startsWith('s3:'))
    return {
      kind: 's3',
      address,
      endpoint: said.s3Endpoint,
      region: said.s3Region,
      pathStyle: said.s3PathStyle ?? said.s3Endpoint !== undefined,
    }
  throw new ArtifactError('configuration', 'Cannot read the setting --store (ARTIFACT_STORE)', {
    expected: 'file:DIR or s3://BUCKET/PREFIX',
    found: address,
  })
}

async function readSecret(
  key: SettingKey,
  value: string | undefined,
  file: string | undefined,
): Promise<string | undefined> {
  if (value !== undefined && file !== undefined)
    throw new ArtifactError('configuration', `Cannot read ${flagOf(key)}: it is given twice`, {
      expected: `${flagOf(key)} or ${flagOf(key)}-file`,
    })
  return file === undefined ? value : readSecretFile(file)
}

/** An address may come as a flag as long as it holds no password. */
function checkFlag(key: SettingKey, value: string): void {
  if (!isSecret(key) || !hasPassword(value)) return
  throw new ArtifactError(
    'configuration',
    `Cannot take a password in ${flagOf(key)}: others on this machine can read it there`,
    { expected: `${variableOf(key)} or ${flagOf(key)}-file` },
  )
}

function hasPassword(url: string): boolean {
  const parsed = URL.parse(url)
  return parsed !== null && (parsed.password !== '' || parsed.searchParams.has('password'))
}

function defaultDataFolder(): string {
  // As root Postgres runs as another user, which cannot enter root's home.
  if (process.getuid?.() === 0) return '/var/lib/artifact'
  if (process.platform === 'win32')
    return join(process.env.LOCALAPPDATA ?? homedir(), 'artifact', 'data')
  return join(process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'artifact')
}
