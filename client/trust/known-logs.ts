/**
 * What this user knows of logs: for every server the key that it was first met with, for every key
 * the newest head that was seen. One small file each, mode 0600, in a folder of their own:
 *
 *     server-SHA256   url LF verifier-key LF       ; named by the URL of the server
 *     log-SHA256      the signed note              ; named by the verifier key, origin included
 *     evidence-TIME.txt                            ; see evidence.ts
 *
 * For example, of a server, with the key shortened:
 *
 *     https://artifacts.example.com
 *     artifacts.example.com/log+530d903a+AekyeRrm…
 *
 * A head belongs to a key and not to an origin alone: any server can claim any origin, and must not
 * spoil what is known of another.
 */
import { createHash } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ArtifactError } from '../../schemas/problems.ts'
import { writeDurable } from '../disk/durable.ts'
import { errorCode, localError } from '../disk/local-error.ts'
import { acquireLock, type Lock } from '../disk/lock.ts'
import { type OpenedCheckpoint, openCheckpoint } from '../verify/checkpoint.ts'
import { formatNoteKey, type NoteKey, parseNoteKey } from '../verify/note-key.ts'
import { trustLog } from '../verify/policy.ts'

/** How long to wait for another process that writes; it holds the lock for some milliseconds. */
const LOCK_PATIENCE_MS = 10_000
const LOCK_QUESTION_MS = 10

/** The memory of a client. Every write is durable when it returns. */
export interface KnownLogs {
  /** The key that a server was met with. Throws `local_io` for a file that is not as it was written. */
  findKey(url: string): Promise<NoteKey | undefined>
  /** Binds a server to a key, if it is still bound to `before`; answers whether it was. */
  swapKey(url: string, before: NoteKey | undefined, key: NoteKey): Promise<boolean>
  /** The newest head that was seen of the log with this key. */
  findHead(key: NoteKey): Promise<OpenedCheckpoint | undefined>
  /** Replaces the newest head, if that is still the note `before`; answers whether it was. */
  swapHead(before: string | undefined, head: OpenedCheckpoint): Promise<boolean>
  /** Keeps a text for those who have to judge it; answers where, if it is kept at all. */
  saveEvidence(text: string): Promise<string | undefined>
}

/** The memory in a folder, which is made when something is written. Throws `local_io`, `locked`. */
export function openKnownLogs(folder: string, clock: () => Date = () => new Date()): KnownLogs {
  return rememberIn({
    describe: (name) => join(folder, name),
    read: (name) => readIfThere(join(folder, name)),
    async swap(name, before, after) {
      await makeFolder(folder)
      await using _lock = await acquirePatiently(join(folder, 'lock'))
      if ((await readIfThere(join(folder, name))) !== before) return false
      await writeDurable(join(folder, name), after)
      return true
    },
    async save(text) {
      await makeFolder(folder)
      const path = join(folder, `evidence-${clock().toISOString().replaceAll(':', '-')}.txt`)
      await writeDurable(path, text)
      return path
    },
  })
}

/** A memory that ends with the process. */
export function rememberForNow(): KnownLogs {
  const files = new Map<string, string>()
  return rememberIn({
    describe: (name) => name,
    read: async (name) => files.get(name),
    async swap(name, before, after) {
      if (files.get(name) !== before) return false
      files.set(name, after)
      return true
    },
    save: async () => undefined,
  })
}

/** Small texts by name, each replaced whole or not at all. */
interface Texts {
  describe(name: string): string
  read(name: string): Promise<string | undefined>
  swap(name: string, before: string | undefined, after: string): Promise<boolean>
  save(text: string): Promise<string | undefined>
}

function rememberIn(texts: Texts): KnownLogs {
  return {
    async findKey(url) {
      const name = nameOf('server', url)
      const text = await texts.read(name)
      if (text === undefined) return undefined
      return readRemembered(texts.describe(name), () => parseServer(text, url))
    },
    async swapKey(url, before, key) {
      const spell = (one: NoteKey) => `${url}\n${formatNoteKey(one)}\n`
      return texts.swap(nameOf('server', url), before && spell(before), spell(key))
    },
    async findHead(key) {
      const name = nameOf('log', formatNoteKey(key))
      const note = await texts.read(name)
      if (note === undefined) return undefined
      // By the key alone: it was taken when another policy may have been in force.
      return readRemembered(texts.describe(name), () => openCheckpoint(note, trustLog(key)))
    },
    swapHead: (before, head) =>
      texts.swap(nameOf('log', formatNoteKey(head.key)), before, head.note),
    saveEvidence: (text) => texts.save(text),
  }
}

function parseServer(text: string, url: string): NoteKey {
  const [found, key = '', ...rest] = text.split('\n')
  if (found === url && rest.join() === '') return parseNoteKey(key)
  throw new ArtifactError('log_malformed', 'Cannot read the pin: it is none', { found })
}

/** A damaged memory is not an empty one: whoever can damage it must not be able to reset it. */
function readRemembered<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw new ArtifactError('local_io', `Cannot use ${path}: it is not as it was written`, {
      expected: 'restore it; to forget what is known of the log, remove it',
      found: cause instanceof Error ? cause.message : undefined,
      cause,
    })
  }
}

function nameOf(kind: 'server' | 'log', identity: string): string {
  return `${kind}-${createHash('sha256').update(identity).digest('hex')}`
}

async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw localError('write into', folder, error)
  })
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw localError('read', path, error)
  }
}

async function acquirePatiently(path: string): Promise<Lock> {
  const until = performance.now() + LOCK_PATIENCE_MS
  for (;;) {
    try {
      return await acquireLock(path)
    } catch (error) {
      const isHeld = error instanceof ArtifactError && error.code === 'locked'
      if (!isHeld || performance.now() > until) throw error
      await delay(LOCK_QUESTION_MS)
    }
  }
}
