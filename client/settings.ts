/**
 * What the environment says to the client. The only file of the client that reads it.
 *
 * A setting comes from its flag, else from the environment, else from the local profile that
 * `artifact serve` writes. Folders follow the XDG Base Directory Specification 0.8; on Windows they
 * lie in `%APPDATA%` (configuration) and `%LOCALAPPDATA%` (state).
 *
 *     ARTIFACT_URL          address of the server
 *     ARTIFACT_TOKEN        the token itself
 *     ARTIFACT_TOKEN_FILE   a file that holds it; one of the two
 *     ARTIFACT_LOG_KEY      the key of the server's log, or a file that holds it
 *     ARTIFACT_LOG_POLICY   a file that says whose signatures count (C2SP tlog-policy); one of the two
 *     ARTIFACT_LOCK         a lock file: what may be got, and the log as it was then
 *     ARTIFACT_DEBUG        1: print stack traces
 */
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { ArtifactError } from '../schemas/problems.ts'
import { findNearest } from './nearest.ts'

/** Every `ARTIFACT_*` variable that the client knows. */
export const CLIENT_VARIABLES = [
  'ARTIFACT_URL',
  'ARTIFACT_TOKEN',
  'ARTIFACT_TOKEN_FILE',
  'ARTIFACT_LOG_KEY',
  'ARTIFACT_LOG_POLICY',
  'ARTIFACT_LOCK',
  'ARTIFACT_DEBUG',
] as const

/** The environment, read once. An empty variable counts as unset. */
export interface ClientEnvironment {
  url: string | undefined
  token: string | undefined
  tokenFile: string | undefined
  /** A verifier key, or the path of a file with one. */
  logKey: string | undefined
  /** Path of a trust policy. */
  logPolicy: string | undefined
  /** Path of a lock file. */
  lock: string | undefined
  /** Holds `profile.json`. */
  configFolder: string
  /** Holds the journals of uploads that can go on, and what is known of logs. */
  stateFolder: string
  debug: boolean
  /** `NO_COLOR` is set, see no-color.org. */
  noColor: boolean
  /** `TERM=dumb`: a terminal that cannot move its cursor. */
  dumbTerminal: boolean
  /** `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, also in lower case; absent: no proxy. */
  proxy:
    | { http?: string | undefined; https?: string | undefined; none?: string | undefined }
    | undefined
  /** The names of all `ARTIFACT_*` variables that are set. */
  artifactVariables: readonly string[]
}

type Variables = Record<string, string | undefined>

/** Reads the environment of this process, or the one given. */
export function readEnvironment(
  variables: Variables = process.env,
  platform: NodeJS.Platform = process.platform,
  home: string = homedir(),
): ClientEnvironment {
  const read = (name: string) => variables[name] || undefined
  return {
    url: read('ARTIFACT_URL'),
    token: read('ARTIFACT_TOKEN'),
    tokenFile: read('ARTIFACT_TOKEN_FILE'),
    logKey: read('ARTIFACT_LOG_KEY'),
    logPolicy: read('ARTIFACT_LOG_POLICY'),
    lock: read('ARTIFACT_LOCK'),
    ...findFolders(read, platform, home),
    debug: read('ARTIFACT_DEBUG') === '1',
    noColor: read('NO_COLOR') !== undefined,
    dumbTerminal: read('TERM') === 'dumb',
    proxy: findProxy(read),
    artifactVariables: Object.keys(variables)
      .filter((name) => name.startsWith('ARTIFACT_') && read(name) !== undefined)
      .sort(),
  }
}

/** Whether an `ARTIFACT_*` variable is set that the client itself does not know. */
export function hasOtherVariables({ artifactVariables }: ClientEnvironment): boolean {
  const known: readonly string[] = CLIENT_VARIABLES
  return artifactVariables.some((name) => !known.includes(name))
}

/**
 * Throws `configuration` for an `ARTIFACT_*` variable that is in no table: a misspelt setting that is
 * silently ignored is found too late. `others` are the names that the server knows.
 */
export function checkVariables(
  environment: ClientEnvironment,
  others: readonly string[] = [],
): void {
  const known = [...CLIENT_VARIABLES, ...others]
  const unknown = environment.artifactVariables.find((name) => !known.includes(name))
  if (unknown === undefined) return
  const nearest = findNearest(unknown, known)
  throw new ArtifactError(
    'configuration',
    `Cannot read the environment: ${unknown} is not a setting`,
    { expected: nearest ?? 'a setting that artifact serve --help names', found: unknown },
  )
}

function findProxy(read: (name: string) => string | undefined): ClientEnvironment['proxy'] {
  // HTTP_PROXY in capitals can be set by a request to a CGI program (httpoxy.org); the client is none.
  const http = read('http_proxy') ?? read('HTTP_PROXY')
  const https = read('https_proxy') ?? read('HTTPS_PROXY')
  if (http === undefined && https === undefined) return undefined
  return { http, https, none: read('no_proxy') ?? read('NO_PROXY') }
}

function findFolders(
  read: (name: string) => string | undefined,
  platform: NodeJS.Platform,
  home: string,
): Pick<ClientEnvironment, 'configFolder' | 'stateFolder'> {
  if (platform === 'win32')
    return {
      configFolder: join(read('APPDATA') ?? join(home, 'AppData', 'Roaming'), 'artifact'),
      stateFolder: join(read('LOCALAPPDATA') ?? join(home, 'AppData', 'Local'), 'artifact'),
    }
  const base = (name: string, fallback: string) => {
    const given = read(name)
    // The specification tells to ignore a relative path.
    return given !== undefined && isAbsolute(given) ? given : join(home, fallback)
  }
  return {
    configFolder: join(base('XDG_CONFIG_HOME', '.config'), 'artifact'),
    stateFolder: join(base('XDG_STATE_HOME', '.local/state'), 'artifact'),
  }
}
