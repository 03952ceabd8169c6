/** Which server a command speaks to, and with which token: see `settings.ts` for what the environment says. */
import { readFileSync, statSync } from 'node:fs'
import { ArtifactError } from '../schemas/problems.ts'
import { readProfile } from './profile.ts'
import type { ClientEnvironment } from './settings.ts'

/** Largest token file, in bytes. */
const TOKEN_FILE_BYTES_MAX = 4096

/** Where the server is and what opens it. */
export interface ServerSettings {
  url: string
  /** Absent: only what anyone may do. */
  token: string | undefined
}

/** Address and token, from flags, environment and profile in that order. Throws `configuration`. */
export async function resolveServer(
  flags: { url?: string | undefined; tokenFile?: string | undefined },
  environment: ClientEnvironment,
): Promise<ServerSettings> {
  const given = flags.url ?? environment.url
  const token = readToken(flags.tokenFile, environment)
  if (given !== undefined && token !== undefined) return { url: checkUrl(given), token }
  const profile = readProfile(environment.configFolder)
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

/**
 * The address that {@link resolveServer} will come to, for all that can be seen in words that nobody has
 * parsed yet; `undefined` where it takes more than a look.
 */
export function guessServer(
  words: readonly string[],
  environment: ClientEnvironment,
): URL | undefined {
  try {
    const end = words.indexOf('--')
    const options = end === -1 ? words : words.slice(0, end)
    const at = options.findLastIndex((word) => word === '--url' || word.startsWith('--url='))
    const word = options[at] ?? ''
    const flag = word === '--url' ? options[at + 1] : word.slice('--url='.length)
    const given = at === -1 ? environment.url : (flag ?? '')
    const url = given ?? readProfile(environment.configFolder)?.url
    return url === undefined ? undefined : new URL(checkUrl(url))
  } catch {
    // Told where it is needed.
    return undefined
  }
}

function readToken(flag: string | undefined, environment: ClientEnvironment): string | undefined {
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

function readTokenFile(path: string): string {
  try {
    const { size } = statSync(path)
    if (size > TOKEN_FILE_BYTES_MAX)
      throw new ArtifactError(
        'configuration',
        `Cannot read the token file ${path}: it is too long`,
        {
          expected: `at most ${TOKEN_FILE_BYTES_MAX} bytes`,
          found: `${size} bytes`,
        },
      )
    return checkToken(readFileSync(path, 'utf8').trim(), path)
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
