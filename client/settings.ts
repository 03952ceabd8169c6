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
import { readFile, stat } from 'node:fs/promises'
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

/** Largest token file, in bytes. */
const TOKEN_FILE_BYTES_MAX = 4096

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

/** Where the server is and what opens it. */
export interface ServerSettings {
  url: string
  /** Absent: only what anyone may do. */
  token: string | undefined
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

/** Address and token, from flags, environment and profile in that order. Throws `configuration`. */
export async function resolveServer(
  flags: { url?: string | undefined; tokenFile?: string | undefined },
  environment: ClientEnvironment,
): Promise<ServerSettings> {
  const given = flags.url ?? environment.url
  const token = await readToken(flags.tokenFile, environment)
  if (given !== undefined && token !== undefined) return { url: checkUrl(given), token }
  const { readProfile } = await import('./profile.ts')
  const profile = await readProfile(environment.configFolder)
  const chosen = given ?? profile?.url
  if (chosen === undefined)
    throw new ArtifactError('configuration', 'Cannot find a server: no address is set', {
      expected: '--url, ARTIFACT_URL, or a profile as artifact serve writes it on its own machine',
    })
  const url = checkUrl(chosen)
  // A token is for the server it came with, and is never sent to another one.
  const sameServer = profile !== undefined && checkUrl(profile.url) === url
  return { url, token: token ?? (sameServer ? profile.token : undefined) }
}

async function readToken(
  flag: string | undefined,
  environment: ClientEnvironment,
): Promise<string | undefined> {
  if (flag !== undefined) return readTokenFile(flag)
  if (environment.token !== undefined && environment.tokenFile !== undefined)
    throw new ArtifactError(
      'configuration',
      'Cannot choose a token: ARTIFACT_TOKEN and ARTIFACT_TOKEN_FILE are both set',
      { expected: 'one of the two' },
    )
  if (environment.tokenFile !== undefined) return readTokenFile(environment.tokenFile)
  return environment.token === undefined
    ? undefined
    : checkToken(environment.token, 'ARTIFACT_TOKEN')
}

async function readTokenFile(path: string): Promise<string> {
  try {
    const { size } = await stat(path)
    if (size > TOKEN_FILE_BYTES_MAX)
      throw new ArtifactError(
        'configuration',
        `Cannot read the token file ${path}: it is too long`,
        {
          expected: `at most ${TOKEN_FILE_BYTES_MAX} bytes`,
          found: `${size} bytes`,
        },
      )
    return checkToken((await readFile(path, 'utf8')).trim(), path)
  } catch (cause) {
    if (cause instanceof ArtifactError) throw cause
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unreadable'
    throw new ArtifactError('configuration', `Cannot read the token file ${path}: ${reason}`, {
      cause,
    })
  }
}

/** A token goes into a header, so it is visible ASCII; its value is in no message. */
function checkToken(token: string, source: string): string {
  if (/^[\x21-\x7e]{1,4096}$/.test(token)) return token
  throw new ArtifactError('configuration', `Cannot use the token in ${source}: it is not a token`, {
    expected: 'one word of visible ASCII characters',
  })
}

function checkUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.host === '')
    throw new ArtifactError('configuration', 'Cannot use the address of the server: not a URL', {
      expected: 'for example https://artifacts.example.org',
      found: url?.username || url?.password ? undefined : text,
    })
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    throw new ArtifactError(
      'configuration',
      'Cannot use the address of the server: it holds more than host and path',
      { expected: 'no user, password, query or fragment; a token comes by ARTIFACT_TOKEN_FILE' },
    )
  return url.href.replace(/\/+$/, '')
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
