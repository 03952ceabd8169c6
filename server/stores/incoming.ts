/**
 * Unfinished blobs of the filesystem store: per key one file into which parts are written where
 * they belong, and a journal of those that are complete.
 *
 * A part counts once its bytes were hashed, agreed with the grant, are on the disk, and stand in the
 * journal, in this order. A crash before the last step leaves a part that does not count.
 */
import { appendFile, type FileHandle, open, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncFolder, writeFully } from '../../client/disk/durable.ts'
import { errorCode } from '../../client/disk/local-error.ts'
import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { splitBlobKey } from './blob-key.ts'
import { makeFolder, removeFile } from './files.ts'
import type { PartPermission } from './filesystem-grants.ts'
import { formatJournalRecord, readJournal } from './part-journal.ts'
import { sessionEnded } from './part-list.ts'
import { receivePart } from './part-receiver.ts'
import type { PieceBuffers } from './piece-buffers.ts'

/** Journals kept in memory while nobody sends to their keys. */
const IDLE_SLOTS_MAX = 256

/**
 * Unfinished blobs below a folder. One process at a time may have them open, since what is being
 * received is known to this process only.
 */
export interface Incoming {
  readonly folder: string
  /** For what is being received. */
  readonly buffers: PieceBuffers
  readonly slots: Map<string, Slot>
  /** The last in the queue of those who want a key for themselves. */
  readonly turns: Map<string, Promise<unknown>>
}

/** A key that somebody sends to, or did so lately. */
interface Slot {
  /** Set for good before the file is moved: a request that still has it open must not write. */
  isClosed: boolean
  readonly receiving: Set<number>
  readonly writes: Set<Promise<void>>
  held: Promise<Map<number, Part>> | undefined
}

/** Opens the unfinished blobs below `folder`, which must exist. */
export function openIncoming(folder: string, buffers: PieceBuffers): Incoming {
  return { folder, buffers, slots: new Map(), turns: new Map() }
}

/** Where the bytes of an unfinished blob are. */
export function pathOfIncoming(incoming: Incoming, key: string): string {
  return join(incoming.folder, ...splitBlobKey(key))
}

function pathOfJournal(incoming: Incoming, key: string): string {
  return `${pathOfIncoming(incoming, key)}.parts`
}

/** Makes the file for a new key, durably. Does nothing when it is there. Throws `storage_full`. */
export async function beginIncoming(
  incoming: Incoming,
  key: string,
  sizeBytes: bigint | undefined,
): Promise<void> {
  const path = pathOfIncoming(incoming, key)
  await checkRoom(incoming.folder, sizeBytes)
  await using handle = await openNew(path)
  if (handle === undefined) return
  // Nothing was received yet: the first part need not look for a journal.
  takeSlot(incoming, key).held ??= Promise.resolve(new Map())
  // A size from the start spares the disk a change of metadata with every part.
  if (sizeBytes !== undefined) await handle.truncate(Number(sizeBytes))
  await syncFolder(dirname(path))
}

/**
 * Receives one part; it counts when this returns. One that is held already is compared and never
 * written again, so a grant that is used twice cannot spoil it.
 *
 * Throws `part_mismatch` and `size_mismatch` for wrong bytes, `part_busy` while another request
 * sends the same part or the blob is being completed, `part_conflict` when the part is held with
 * another digest, `upload_ended` when nothing was begun, `invalid_request` when the body breaks off.
 */
export async function receiveIncoming(
  incoming: Incoming,
  { key, part, offset }: PartPermission,
  body: AsyncIterable<Uint8Array>,
): Promise<void> {
  const slot = takeSlot(incoming, key)
  if (slot.isClosed || slot.receiving.has(part.number)) throw busy(part)
  slot.receiving.add(part.number)
  try {
    const held = await loadHeld(incoming, key, slot)
    const known = held.get(part.number)
    if (known !== undefined) {
      checkSamePart(known, part)
      return await receivePart(part, body, incoming.buffers, async () => undefined)
    }
    await using handle = await open(pathOfIncoming(incoming, key), 'r+')
    await receivePart(part, body, incoming.buffers, (bytes, at) =>
      writeInto(slot, part, () => writeFully(handle, bytes, offset + at)),
    )
    await writeInto(slot, part, async () => {
      await handle.datasync()
      const journal = pathOfJournal(incoming, key)
      await appendFile(journal, formatJournalRecord(part), { mode: 0o600 })
      held.set(part.number, part)
    })
  } finally {
    slot.receiving.delete(part.number)
  }
}

/** The parts that count, by number. Throws `upload_ended` when nothing was begun under the key. */
export function listIncoming(incoming: Incoming, key: string): Promise<ReadonlyMap<number, Part>> {
  return loadHeld(incoming, key, takeSlot(incoming, key))
}

/**
 * Runs `action` while nobody can write to the key: waits for the writes under way, and requests that
 * are in the middle of a part fail with `part_busy` at their next one. One after the other.
 */
export function withoutWriters<T>(
  incoming: Incoming,
  key: string,
  action: () => Promise<T>,
): Promise<T> {
  const { slots, turns } = incoming
  const before = turns.get(key)?.catch(() => undefined) ?? Promise.resolve()
  const turn = before.then(async () => {
    const slot = takeSlot(incoming, key)
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
}

/** Removes what there is of a key. Only inside {@link withoutWriters}. */
export async function removeIncoming(incoming: Incoming, key: string): Promise<void> {
  // In this order: a journal that a crash left alone would speak for a file that is begun later.
  await removeJournal(incoming, key)
  await removeFile(pathOfIncoming(incoming, key))
}

/** The same where the file has got its final name already. */
export async function removeJournal(incoming: Incoming, key: string): Promise<void> {
  await removeFile(pathOfJournal(incoming, key))
}

function takeSlot({ slots }: Incoming, key: string): Slot {
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

function dropOldestIdle(slots: Map<string, Slot>, except: Slot): void {
  for (const [key, slot] of slots) {
    if (slot === except || slot.isClosed || slot.receiving.size > 0) continue
    slots.delete(key)
    return
  }
}

function loadHeld(incoming: Incoming, key: string, slot: Slot): Promise<Map<number, Part>> {
  slot.held ??= readHeld(incoming, key).catch((error) => {
    slot.held = undefined
    throw error
  })
  return slot.held
}

async function readHeld(incoming: Incoming, key: string): Promise<Map<number, Part>> {
  try {
    await using _ = await open(pathOfIncoming(incoming, key), 'r')
  } catch (error) {
    throw errorCode(error) === 'ENOENT' ? sessionEnded(key) : error
  }
  return readJournal(pathOfJournal(incoming, key))
}

/** `undefined` when the file is there. */
async function openNew(path: string): Promise<FileHandle | undefined> {
  const openIt = () => open(path, 'wx', 0o600)
  try {
    return await openIt().catch(async (error: unknown) => {
      if (errorCode(error) !== 'ENOENT') throw error
      await makeFolder(dirname(path))
      return openIt()
    })
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return undefined
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
async function writeInto(slot: Slot, part: Part, action: () => Promise<void>): Promise<void> {
  if (slot.isClosed) throw busy(part)
  const write = action()
  slot.writes.add(write)
  try {
    await write
  } finally {
    slot.writes.delete(write)
  }
}

function checkSamePart(known: Part, part: Part): void {
  if (known.sha256 === part.sha256 && known.sizeBytes === part.sizeBytes) return
  throw new ArtifactError(
    'part_conflict',
    `Cannot receive part ${part.number}: it is held with another digest`,
    {
      expected: `sha256 ${known.sha256}, ${known.sizeBytes} bytes`,
      found: `sha256 ${part.sha256}, ${part.sizeBytes} bytes`,
    },
  )
}

function busy(part: Part): ArtifactError {
  return new ArtifactError(
    'part_busy',
    `Cannot receive part ${part.number}: it is in other hands right now`,
    { retryAfterSeconds: 1 },
  )
}
