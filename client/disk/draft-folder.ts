/**
 * Many small files on their way to their names: what was verified in memory is written into a folder
 * of drafts beside them, goes to the disk all together, and only then gets its name.
 *
 *     <root>/.artifact-drafts-<16 HEXDIG>/<number>
 *
 * A crash leaves a folder of drafts and complete files, never a name with half of its bytes. The next
 * call into the same root removes such a folder once nobody has touched it for a day.
 */
import { randomBytes } from 'node:crypto'
import { lstat, mkdir, open, readdir, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { forEachLimited } from '../transfer/limited.ts'
import { placeFile, syncFolder, targetExists } from './durable.ts'
import { localError } from './local-error.ts'

const PREFIX = '.artifact-drafts-'
const FOLDER_NAME = /^\.artifact-drafts-[0-9a-f]{16}$/
/** A folder of drafts that nobody touched for this long was left by a crash. */
const ABANDONED_MS = 86_400_000
/** Files of one call that are written at once. */
const WRITES_AT_ONCE = 16

/** A verified file and the path where it shall be. */
export interface VerifiedFile {
  target: string
  bytes: Uint8Array
}

/** Why a file could not get its name. */
export type Outcome = { error: unknown } | undefined

/** Disposing of it removes what was not published. */
export interface DraftFolder extends AsyncDisposable {
  /**
   * Gives files their names, durably, and says of each, in order, why it could not. The caller has
   * verified every byte. Without `force` nothing is replaced (`target_exists`), with it only plain
   * files and links are.
   */
  publish(files: readonly VerifiedFile[], options: { force: boolean }): Promise<Outcome[]>
}

/** Whether a name below a root is one of those that are removed after a crash. */
export function isDraftFolder(name: string): boolean {
  return FOLDER_NAME.test(name)
}

/** Opens a folder of drafts below `root`, which must exist. Throws `local_io`. */
export async function openDraftFolder(root: string): Promise<DraftFolder> {
  await removeAbandoned(root)
  const folder = join(root, PREFIX + randomBytes(8).toString('hex'))
  await mkdir(folder, { mode: 0o700 }).catch((error: unknown) => {
    throw localError('write into', root, error)
  })
  let count = 0
  return {
    async publish(files, { force }) {
      const outcomes: Outcome[] = files.map(() => undefined)
      const each = (act: (file: VerifiedFile, index: number) => Promise<void>) =>
        forEachLimited(files.entries(), WRITES_AT_ONCE, async ([index, file]) => {
          outcomes[index] ??= await settle(file, () => act(file, index))
        })
      const first = count
      count += files.length
      const draftOf = (index: number) => join(folder, String(first + index))
      // None gets its name before it is on the disk.
      await each(({ bytes }, index) => writeDraft(draftOf(index), bytes))
      await each(({ target }, index) => place(draftOf(index), target, force))
      // A file is there once its name is on the disk, too: one fsync for all names of a folder.
      const synced = new Map<string, Promise<void>>()
      await each(async ({ target }) => {
        const at = dirname(target)
        const sync = synced.get(at) ?? syncFolder(at)
        synced.set(at, sync)
        await sync
      })
      return outcomes
    },
    async [Symbol.asyncDispose]() {
      await rm(folder, { recursive: true, force: true }).catch(() => undefined)
    },
  }
}

async function settle({ target }: VerifiedFile, act: () => Promise<void>): Promise<Outcome> {
  try {
    await act()
    return undefined
  } catch (error) {
    return { error: localError('write', target, error) }
  }
}

async function writeDraft(draft: string, bytes: Uint8Array): Promise<void> {
  await using handle = await open(draft, 'wx', 0o666)
  await handle.writeFile(bytes)
  await handle.sync()
}

async function place(draft: string, target: string, force: boolean): Promise<void> {
  if (force) await checkReplaceable(target)
  await placeFile(draft, target, { replace: force })
}

async function checkReplaceable(target: string): Promise<void> {
  const found = await lstat(target).catch(() => undefined)
  if (found !== undefined && !found.isFile() && !found.isSymbolicLink()) throw targetExists(target)
}

async function removeAbandoned(root: string): Promise<void> {
  for (const name of await readdir(root).catch(() => [])) {
    if (!isDraftFolder(name)) continue
    const path = join(root, name)
    const found = await stat(path).catch(() => undefined)
    if (found !== undefined && Date.now() - found.mtimeMs > ABANDONED_MS)
      await rm(path, { recursive: true, force: true }).catch(() => undefined)
  }
}
