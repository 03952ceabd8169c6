/**
 * Which files `artifact upload` sends, and under which names. All of it is looked at before anything
 * is sent, so that a folder with a symbolic link or a socket in it is refused whole, by name.
 */
import type { Dirent } from 'node:fs'
import { lstat, readdir, realpath, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { findNameFault } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { localError } from '../disk/local-error.ts'
import type { UploadEntry } from '../transfer/upload-all.ts'

/** Names of refused files that one message holds. */
const NAMED_MAX = 10

/** Whether the path is a folder. Throws `local_io` when there is nothing. */
export async function isFolder(path: string, followLinks: boolean): Promise<boolean> {
  return (await look(path, followLinks)).isDirectory()
}

/**
 * All files of the paths, each with its name: that of the file, or the path below its folder, after
 * `prefix` and a slash. Sorted within a folder.
 *
 * Throws `unsafe_path` for symbolic links (unless they are followed) and special files, and `usage`
 * when two files would share a name, a name cannot be one, or there is no file at all.
 */
export async function findEntries(
  paths: readonly string[],
  prefix: string | undefined,
  followLinks: boolean,
): Promise<UploadEntry[]> {
  const refused: string[] = []
  const entries: UploadEntry[] = []
  const before = prefix === undefined ? '' : `${prefix}/`
  for (const path of paths) {
    const found = collect({ path, name: '', above: [] }, followLinks, refused)
    for await (const { file, name } of found)
      entries.push({ file, name: `${before}${name === '' ? basename(resolve(path)) : name}` })
  }
  if (refused.length > 0)
    throw new ArtifactError('unsafe_path', `Cannot upload: ${listSome(refused)}`, {
      expected: 'plain files and folders',
    })
  checkNames(entries)
  return entries
}

interface Place {
  path: string
  /** Below the folder that was named; empty for what was named itself. */
  name: string
  /** Real paths of the folders above, to notice a link that leads back. */
  above: readonly string[]
}

async function* collect(
  { path, name, above }: Place,
  followLinks: boolean,
  refused: string[],
): AsyncGenerator<UploadEntry> {
  const found = await look(path, followLinks)
  if (found.isFile()) {
    yield { file: path, name }
    return
  }
  if (!found.isDirectory()) {
    refused.push(`${path} is ${found.isSymbolicLink() ? 'a symbolic link' : 'no plain file'}`)
    return
  }
  const real = followLinks ? await realpath(path) : path
  if (above.includes(real)) {
    refused.push(`${path} leads back to a folder above it`)
    return
  }
  const children = (await list(path)).sort((one, other) => (one.name < other.name ? -1 : 1))
  for (const child of children) {
    const file = join(path, child.name)
    const place = { path: file, name: name === '' ? child.name : `${name}/${child.name}` }
    // Most are plain files, of which the folder says all there is to know.
    if (child.isFile()) yield { file, name: place.name }
    else yield* collect({ ...place, above: [...above, real] }, followLinks, refused)
  }
}

async function look(path: string, followLinks: boolean) {
  try {
    return await (followLinks ? stat(path) : lstat(path))
  } catch (error) {
    throw localError('read', path, error)
  }
}

async function list(path: string): Promise<Dirent[]> {
  try {
    return await readdir(path, { withFileTypes: true })
  } catch (error) {
    throw localError('read', path, error)
  }
}

function checkNames(entries: readonly UploadEntry[]): void {
  if (entries.length === 0)
    throw new ArtifactError('usage', 'Cannot upload the folder: there is no file in it')
  const seen = new Map<string, string>()
  for (const { file, name } of entries) {
    const fault = findNameFault(name)
    if (fault !== undefined)
      throw new ArtifactError('usage', `Cannot name the artifact of ${file}: ${fault}`, {
        found: name,
      })
    const other = seen.get(name)
    if (other !== undefined)
      throw new ArtifactError(
        'usage',
        `Cannot upload ${file}: it would share a name with ${other}`,
        {
          expected: 'different names',
          found: name,
        },
      )
    seen.set(name, file)
  }
}

function listSome(texts: readonly string[]): string {
  const more = texts.length - NAMED_MAX
  return texts.slice(0, NAMED_MAX).join('; ') + (more > 0 ? `; and ${more} more` : '')
}
