/**
 * The journal of unfinished uploads: what the same command, run again after a crash or Ctrl-C, needs
 * to go on instead of beginning anew. One small file for each, named after what is uploaded from
 * where to where; it is on the disk before the server hears of the upload, and gone once it is sealed.
 */
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readdir, readFile, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import { writeDurable } from '../disk/durable.ts'
import { errorCode, localError } from '../disk/local-error.ts'
import { acquirePassingLock } from '../disk/passing-lock.ts'
import { newUploadId } from './upload-id.ts'

/** An entry that nobody came back to is removed after this. */
const ENTRY_MAX_AGE_MS = 30 * 24 * 3_600_000

const Entry = z.object({
  /** Makes the server allot one run, however often it is asked. */
  requestId: z.uuid(),
  uploadId: z.uuid(),
  /** 1 for the first try. */
  attempt: z.int().min(1),
})
export type JournalEntry = z.infer<typeof Entry>

/** The place of one upload in the journal. */
export interface JournalSlot {
  /**
   * Takes the slot for this process until it is disposed of: two that go on with one upload would
   * end it for each other. Throws `locked` when another one has it.
   */
  hold(): Promise<AsyncDisposable>
  /** What an earlier call left, or `undefined`. */
  read(): Promise<JournalEntry | undefined>
  /** Durable when it returns. */
  write(entry: JournalEntry): Promise<void>
  remove(): Promise<void>
}

/** A fresh entry. */
export function newEntry(): JournalEntry {
  return { requestId: randomUUID(), uploadId: newUploadId(), attempt: 1 }
}

/**
 * The slot for what `identity` says, word for word: the server, the target, the file with its size
 * and time of change, and what was asked for. Anything else is another upload. Without a folder
 * nothing is remembered.
 */
export function openJournal(
  folder: string | undefined,
  identity: Record<string, unknown>,
): JournalSlot {
  if (folder === undefined) return FORGETFUL
  const words = JSON.stringify(identity, (_, value: unknown) =>
    typeof value === 'bigint' ? String(value) : value,
  )
  const path = join(folder, `${createHash('sha256').update(words).digest('hex')}.json`)
  return {
    async hold() {
      await makeFolder(folder)
      return holdSlot(`${path}.lock`)
    },
    read: () => readEntry(path),
    async write(entry) {
      await makeFolder(folder)
      if (entry.attempt === 1) await removeOld(folder)
      await writeDurable(path, `${JSON.stringify(entry)}\n`)
    },
    async remove() {
      await unlink(path).catch(() => undefined)
    },
  }
}

const FORGETFUL: JournalSlot = {
  hold: async () => ({ [Symbol.asyncDispose]: async () => undefined }),
  read: async () => undefined,
  write: async () => undefined,
  remove: async () => undefined,
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw localError('write into', folder, error)
  })
}

async function holdSlot(path: string): Promise<AsyncDisposable> {
  return acquirePassingLock(path).catch((cause: unknown) => {
    if (!(cause instanceof ArtifactError) || cause.code !== 'locked') throw cause
    throw new ArtifactError('locked', 'Cannot upload: another process uploads the same file', {
      cause,
    })
  })
}

async function readEntry(path: string): Promise<JournalEntry | undefined> {
  try {
    // What cannot be read is as good as absent: the upload begins anew.
    const parsed = Entry.safeParse(JSON.parse(await readFile(path, 'utf8')))
    return parsed.data
  } catch (error) {
    if (error instanceof SyntaxError || errorCode(error) === 'ENOENT') return undefined
    throw localError('read', path, error)
  }
}

async function removeOld(folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    const path = join(folder, name)
    const found = await stat(path).catch(() => undefined)
    if (found !== undefined && Date.now() - found.mtimeMs > ENTRY_MAX_AGE_MS)
      await unlink(path).catch(() => undefined)
  }
}
