/**
 * Unfinished blobs of the filesystem store: per key one file into which parts are written where
 * they belong, and a journal of those that are complete.
 *
 * A part counts once its bytes were hashed, agreed with the grant, are on the disk, and stand in the
 * journal, in this order. A crash before the last step leaves a part that does not count.
 */
import { createHash } from 'node:crypto'
import { appendFile, type FileHandle, open, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { splitBlobKey } from './blob-key.ts'
import { codeOf, makeFolder, removeFile, syncFolder } from './files.ts'
import type { PartPermission } from './filesystem-grants.ts'
import { formatJournalRecord, readJournal } from './part-journal.ts'
import { sessionEnded } from './part-list.ts'

/** Bytes that are gathered before they are written. */
const BUFFER_BYTES = 1024 ** 2
/** Journals kept in memory while nobody sends to their keys. */
const IDLE_SLOTS_MAX = 256

export interface Incoming {
  /** Makes the file for a new key, durably. Does nothing when it is there. Throws `storage_full`. */
  begin(key: string, sizeBytes: bigint | undefined): Promise<void>
  /** Receives one part; see {@link openIncoming}. */
  receive(permission: PartPermission, body: AsyncIterable<Uint8Array>): Promise<void>
  /** The parts that count, by number. Throws `upload_ended` when the key has no file. */
  listHeld(key: string): Promise<ReadonlyMap<number, Part>>
  /** Waits for the writes under way and lets nobody write to the key while `action` runs. */
  exclusively<T>(key: string, action: () => Promise<T>): Promise<T>
  /** Where the bytes of a key are. */
  pathOf(key: string): string
  /** Removes what there is of a key. Only inside {@link exclusively}. */
  remove(key: string): Promise<void>
}

/** One key while somebody sends to it. */
interface Slot {
  /** Set for good before the file is moved: a request that still has it open must not write. */
  isClosed: boolean
  receiving: Set<number>
  writes: Set<Promise<void>>
  held: Promise<Map<number, Part>> | undefined
}

/**
 * Opens the unfinished blobs below `folder`. One process at a time may do so, since what is being
 * received is known to this process only.
 *
 * `receive` throws `part_mismatch` and `size_mismatch` for wrong bytes, `part_busy` while another
 * request sends the same part or the blob is being completed, `part_conflict` when the part is held
 * with another digest, `upload_ended` when nothing was begun, `invalid_request` when the request
 * breaks off. A part that is held is compared and never written again.
 */
export function openIncoming(folder: string): Incoming {
  const slots = new Map<string, Slot>()
  const turns = new Map<string, Promise<unknown>>()
  const pathOf = (key: string) => join(folder, ...splitBlobKey(key))
  const journalOf = (key: string) => `${pathOf(key)}.parts`

  function takeSlot(key: string): Slot {
    const slot = slots.get(key) ?? {
      isClosed: false,
      receiving: new Set(),
      writes: new Set(),
      held: undefined,
    }
    // The latest used key comes last, so that the first idle one is the oldest.
    slots.delete(key)
    slots.set(key, slot)
    if (slots.size > IDLE_SLOTS_MAX) dropOldestIdle(slots, slot)
    return slot
  }

  function loadHeld(key: string, slot: Slot): Promise<Map<number, Part>> {
    slot.held ??= readHeld(pathOf(key), journalOf(key), key).catch((error) => {
      slot.held = undefined
      throw error
    })
    return slot.held
  }

  return {
    pathOf,

    async begin(key, sizeBytes) {
      const path = pathOf(key)
      await checkRoom(folder, sizeBytes)
      await makeFolder(dirname(path))
      await using handle = await openNew(path)
      if (handle === undefined) return
      // A size from the start spares the disk a change of metadata with every part.
      if (sizeBytes !== undefined) await handle.truncate(Number(sizeBytes))
      await syncFolder(dirname(path))
    },

    async receive({ key, part, offset }, body) {
      const slot = takeSlot(key)
      if (slot.isClosed || slot.receiving.has(part.number)) throw busy(part)
      slot.receiving.add(part.number)
      try {
        const held = await loadHeld(key, slot)
        const known = held.get(part.number)
        if (known !== undefined) return await compareWithHeld(known, part, body)
        await using handle = await open(pathOf(key), 'r+')
        const target = { handle, offset, write: (action: Write) => writeInto(slot, part, action) }
        checkDigest(part, await receiveBytes(part, body, target))
        await writeInto(slot, part, async () => {
          await handle.datasync()
          await appendFile(journalOf(key), formatJournalRecord(part), { mode: 0o600 })
          held.set(part.number, part)
        })
      } finally {
        slot.receiving.delete(part.number)
      }
    },

    async listHeld(key) {
      return loadHeld(key, takeSlot(key))
    },

    exclusively(key, action) {
      const turn = waitFor(turns.get(key)).then(async () => {
        const slot = takeSlot(key)
        slot.isClosed = true
        await Promise.allSettled(slot.writes)
        try {
          return await action()
        } finally {
          slots.delete(key)
        }
      })
      turns.set(key, turn)
      const leave = () => {
        if (turns.get(key) === turn) turns.delete(key)
      }
      turn.then(leave, leave)
      return turn
    },

    async remove(key) {
      await removeFile(pathOf(key))
      await removeFile(journalOf(key))
    },
  }
}

type Write = () => Promise<void>

async function waitFor(turn: Promise<unknown> | undefined): Promise<void> {
  await turn?.catch(() => undefined)
}

function dropOldestIdle(slots: Map<string, Slot>, except: Slot): void {
  for (const [key, slot] of slots) {
    if (slot === except || slot.isClosed || slot.receiving.size > 0) continue
    slots.delete(key)
    return
  }
}

async function readHeld(path: string, journal: string, key: string): Promise<Map<number, Part>> {
  try {
    await using _ = await open(path, 'r')
  } catch (error) {
    if (codeOf(error) === 'ENOENT') throw sessionEnded(key)
    throw error
  }
  return readJournal(journal)
}

async function openNew(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'wx', 0o600)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return undefined
    throw error
  }
}

// Only a hint: others fill the disk too. A write that finds it full fails in the same words.
async function checkRoom(folder: string, sizeBytes: bigint | undefined): Promise<void> {
  if (sizeBytes === undefined) return
  const { bavail, bsize } = await statfs(folder, { bigint: true })
  if (sizeBytes <= bavail * bsize) return
  throw new ArtifactError('storage_full', 'Cannot begin blob: it does not fit on the disk', {
    expected: `${sizeBytes} bytes`,
    found: `${bavail * bsize} bytes free`,
  })
}

/** Writes unless the slot was closed, and makes whoever closes it wait for this write. */
async function writeInto(slot: Slot, part: Part, action: Write): Promise<void> {
  if (slot.isClosed) throw busy(part)
  const write = action()
  slot.writes.add(write)
  try {
    await write
  } finally {
    slot.writes.delete(write)
  }
}

interface Target {
  handle: FileHandle
  offset: number
  write: (action: Write) => Promise<void>
}

/**
 * Takes exactly the bytes of `part` from `body`, into `target` if there is one, and returns their
 * SHA-256. What is hashed is what is written: the same buffer, once.
 */
async function receiveBytes(
  part: Part,
  body: AsyncIterable<Uint8Array>,
  target: Target | undefined,
): Promise<string> {
  const hash = createHash('sha256')
  const buffer = Buffer.allocUnsafeSlow(Math.min(part.sizeBytes, BUFFER_BYTES))
  let flushed = 0
  let used = 0
  const flush = async () => {
    const full = buffer.subarray(0, used)
    const written = target?.write(() => writeWhole(target.handle, full, target.offset + flushed))
    hash.update(full)
    await written
    flushed += used
    used = 0
  }
  for await (const chunk of fromClient(part, body)) {
    // Not one byte past the part: there begins the next one.
    if (flushed + used + chunk.length > part.sizeBytes) throw wrongSize(part, 'more')
    for (let at = 0; at < chunk.length; ) {
      const piece = chunk.subarray(at, at + buffer.length - used)
      buffer.set(piece, used)
      used += piece.length
      at += piece.length
      if (used === buffer.length) await flush()
    }
  }
  if (flushed + used < part.sizeBytes) throw wrongSize(part, `${flushed + used} bytes`)
  if (used > 0) await flush()
  return hash.digest('hex')
}

async function writeWhole(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position + at)
    at += bytesWritten
  }
}

/** Keeps a connection that broke apart from a disk that failed. */
async function* fromClient(
  part: Part,
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield* body
  } catch (cause) {
    throw new ArtifactError(
      'invalid_request',
      `Cannot receive part ${part.number}: the request broke off`,
      { cause },
    )
  }
}

async function compareWithHeld(
  known: Part,
  part: Part,
  body: AsyncIterable<Uint8Array>,
): Promise<void> {
  if (known.sha256 !== part.sha256 || known.sizeBytes !== part.sizeBytes)
    throw new ArtifactError(
      'part_conflict',
      `Cannot receive part ${part.number}: it is held with another digest`,
      {
        expected: `sha256 ${known.sha256}, ${known.sizeBytes} bytes`,
        found: `sha256 ${part.sha256}, ${part.sizeBytes} bytes`,
      },
    )
  checkDigest(part, await receiveBytes(part, body, undefined))
}

function checkDigest(part: Part, sha256: string): void {
  if (sha256 === part.sha256) return
  throw new ArtifactError('part_mismatch', `Cannot receive part ${part.number}: it differs`, {
    expected: `sha256 ${part.sha256}`,
    found: `sha256 ${sha256}`,
  })
}

function wrongSize(part: Part, found: string): ArtifactError {
  return new ArtifactError(
    'size_mismatch',
    `Cannot receive part ${part.number}: it has another size`,
    { expected: `${part.sizeBytes} bytes`, found },
  )
}

function busy(part: Part): ArtifactError {
  return new ArtifactError(
    'part_busy',
    `Cannot receive part ${part.number}: it is in other hands right now`,
    { retryAfterSeconds: 1 },
  )
}
