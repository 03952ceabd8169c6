/**
 * Where Node keeps what it compiled, so that the next start need not compile it again.
 *
 * What lies in that folder is executed without being compared with its source. So it is a folder of
 * this user alone, and not the one in the shared temporary folder that Node takes by default: there
 * whoever comes first could leave code for others to run.
 */
import { lstatSync, mkdirSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'

/**
 * Turns the cache on for this process, in `artifact/compiled` of the user's cache folder; without a
 * folder that nobody else can write to, everything is compiled afresh. Never throws. Node's own
 * `NODE_COMPILE_CACHE` (another folder) and `NODE_DISABLE_COMPILE_CACHE=1` (none) go first.
 */
export function keepCompiled(
  variables: Readonly<Record<string, string | undefined>> = process.env,
): void {
  try {
    const folder = join(findCacheFolder(variables), 'artifact', 'compiled')
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    if (isPrivate(folder)) enableCompileCache(folder)
  } catch {
    // A home that is absent, full or read-only: only the start is slower.
  }
}

/** The user's cache folder: `LOCALAPPDATA` on Windows, else as the XDG base directories say. */
function findCacheFolder(variables: Readonly<Record<string, string | undefined>>): string {
  const given = process.platform === 'win32' ? variables.LOCALAPPDATA : variables.XDG_CACHE_HOME
  // The specification tells to ignore a relative path.
  return given !== undefined && isAbsolute(given) ? given : join(homedir(), '.cache')
}

/** Whether a folder is this user's and nobody else may write to it; Windows guards it by its place. */
function isPrivate(folder: string): boolean {
  const { uid, mode } = lstatSync(folder)
  if (process.getuid === undefined) return true
  return uid === process.getuid() && (mode & 0o022) === 0
}
