/**
 * Names of artifacts as paths below a folder, so that nothing is ever written outside of it.
 */
import { lstat, mkdir, realpath } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { findNameFault } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { isDraftFolder } from './draft-folder.ts'
import { errorCode, localError } from './local-error.ts'

/** Hands out the paths of one folder. */
export interface FolderPaths {
  /** The folder itself, without links. */
  readonly root: string
  /**
   * The path for an artifact's name, with its folders made. Throws `unsafe_path` when the name is
   * not safe on this platform, meets another name that was handed out, or leads outside by a link.
   */
  claim(name: string): Promise<string>
}

/** Makes the folder if it is missing. Throws `local_io` when that cannot be done. */
export async function openFolderPaths(
  folder: string,
  platform: NodeJS.Platform = process.platform,
): Promise<FolderPaths> {
  const root = await makeRoot(folder)
  const files = new Set<string>()
  const folders = new Set<string>()
  const checked = new Set<string>()
  return {
    root,
    async claim(name) {
      const fault = findFileNameFault(name, platform)
      if (fault !== undefined) throw unsafe(name, fault)
      // What lies there is removed a day later, as what a crash left behind.
      if (isDraftFolder(foldName(name.split('/')[0] ?? '', platform)))
        throw unsafe(name, 'a folder of that name is for drafts')
      claimName(name, platform, files, folders)
      const segments = name.split('/')
      let path = root
      for (const segment of segments.slice(0, -1)) {
        path = join(path, segment)
        if (checked.has(path)) continue
        await enterFolder(root, path, name)
        checked.add(path)
      }
      return join(path, segments.at(-1) ?? '')
    },
  }
}

const WINDOWS_DEVICES = /^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\.|$)/i

/** Why a name cannot be a path on a platform, or `undefined` when it can. */
export function findFileNameFault(name: string, platform: NodeJS.Platform): string | undefined {
  const fault = findNameFault(name)
  if (fault !== undefined || platform !== 'win32') return fault
  // Microsoft, "Naming Files, Paths, and Namespaces".
  if (/[<>:"|?*]/.test(name)) return 'Windows allows none of < > : " | ? * in a name'
  for (const segment of name.split('/')) {
    if (/[. ]$/.test(segment)) return 'Windows drops a dot or space at the end of a name'
    if (WINDOWS_DEVICES.test(segment)) return 'Windows keeps that name for a device'
  }
  return undefined
}

function claimName(
  name: string,
  platform: NodeJS.Platform,
  files: Set<string>,
  folders: Set<string>,
): void {
  const key = foldName(name, platform)
  const above = key
    .split('/')
    .slice(0, -1)
    .map((_, index, all) => all.slice(0, index + 1).join('/'))
  const isTaken = files.has(key) || folders.has(key) || above.some((path) => files.has(path))
  if (isTaken) throw unsafe(name, 'another artifact of the run has that path on this platform')
  files.add(key)
  for (const path of above) folders.add(path)
}

/** What file systems take for one name: on Windows and macOS case and composition do not count. */
function foldName(name: string, platform: NodeJS.Platform): string {
  if (platform !== 'win32' && platform !== 'darwin') return name
  return name.normalize('NFC').toLowerCase()
}

async function makeRoot(folder: string): Promise<string> {
  try {
    await mkdir(folder, { recursive: true })
    return await realpath(folder)
  } catch (error) {
    throw localError('write into', folder, error)
  }
}

/** One step at a time, since a recursive `mkdir` would follow a link out of the folder. */
async function enterFolder(root: string, path: string, name: string): Promise<void> {
  try {
    await mkdir(path).catch((error: unknown) => {
      if (errorCode(error) !== 'EEXIST') throw error
    })
    const real = await realpath(path)
    if (real !== root && !real.startsWith(root.endsWith(sep) ? root : root + sep))
      throw unsafe(name, `${path} leads to ${real}, outside of the folder`)
    if (!(await lstat(real)).isDirectory()) throw unsafe(name, `${path} is not a folder`)
  } catch (error) {
    throw localError('write into', path, error)
  }
}

function unsafe(name: string, reason: string): ArtifactError {
  return new ArtifactError('unsafe_path', `Cannot write ${JSON.stringify(name)}: ${reason}`, {
    expected: 'a path of its own inside the folder',
    found: name,
  })
}
