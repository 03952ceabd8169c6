/**
 * The local profile: where the server of this machine is, and a token for it.
 *
 *     profile = { "url": URL, "token": TOKEN }        in CONFIG-FOLDER/profile.json
 *
 * `artifact serve` writes it, so that `artifact upload` in the next terminal just works. It holds a
 * secret: file mode 0600 in a folder of mode 0700.
 */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ArtifactError } from '../schemas/problems.ts'

export interface Profile {
  /** `http:` or `https:`. */
  url: string
  /** 1 to 4,096 characters. */
  token: string
}

/** Path of the profile in the configuration folder. */
export function profilePath(configFolder: string): string {
  return join(configFolder, 'profile.json')
}

/** The profile, or `undefined` when there is none; throws `configuration` when it cannot be read. */
export function readProfile(configFolder: string): Profile | undefined {
  const path = profilePath(configFolder)
  try {
    return parseProfile(JSON.parse(readFileSync(path, 'utf8')))
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined
    // The parser would quote the token.
    throw new ArtifactError('configuration', `Cannot read the profile ${path}: it is damaged`, {
      expected: '{"url": …, "token": …}; remove it, or start artifact serve again',
    })
  }
}

/** By hand: a command looks here for its server before it loads what reads everything else. */
function parseProfile(value: unknown): Profile {
  const { url, token }: Partial<Record<keyof Profile, unknown>> = Object(value)
  if (typeof url !== 'string' || !/^https?:/.test(url) || !URL.canParse(url))
    throw new TypeError('url is no address')
  if (typeof token !== 'string' || token === '' || token.length > 4096)
    throw new TypeError('token is none')
  return { url, token }
}

/** Replaces the profile in one step, durably; returns its path. Throws `local_io`. */
export async function writeProfile(configFolder: string, profile: Profile): Promise<string> {
  const path = profilePath(configFolder)
  try {
    mkdirSync(configFolder, { recursive: true, mode: 0o700 })
  } catch (cause) {
    throw new ArtifactError('local_io', `Cannot make the folder ${configFolder}`, { cause })
  }
  // Whoever reads needs none of it.
  const { writeDurable } = await import('./disk/durable.ts')
  await writeDurable(
    path,
    `${JSON.stringify({ url: profile.url, token: profile.token }, null, 2)}\n`,
  )
  return path
}
