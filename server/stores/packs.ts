/**
 * How small blobs become durable many at a time. Each is written into a pack first, with whatever
 * else waits at that moment, and one fsync stands for all; only then its own file is written, which
 * may reach the disk whenever the system likes.
 *
 *     keep: pack, fsync -> the blob's file -> … -> fsync of the files, long written by then -> pack removed
 *
 * A crash in between leaves the pack: the next start compares every blob with it and mends what is
 * torn or missing, before anybody can read. So a blob is durable from the moment its pack is. Only a full
 * disk does not keep a store from opening, since room is made by removing: what could not be mended
 * stays in its pack until it is.
 */
import { type FileHandle, open, readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncFolder } from '../../client/disk/durable.ts'
import { errorCode } from '../../client/disk/local-error.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { makeFolder, removeFile } from './files.ts'
import { mendBlob, pathOfBlob } from './filesystem-blobs.ts'
import { formatPackRecord, parsePack } from './pack-record.ts'

/** How often packs are looked after. */
const ROUND_MS = 15_000
/** Rounds that a pack waits, so that its blobs are on the disk by themselves: Linux writes after 30 s. */
const ROUNDS_KEPT = 4
/** A pack that grew beyond this is followed by another. */
const PACK_BYTES_MAX = 32 * 1024 ** 2
const PACK_NAME = /^[0-9]{1,12}\.pack$/

export interface Packs extends AsyncDisposable {
  /**
   * Makes the bytes durable, then calls `write`, which makes the blob's own file, and returns what that
   * returns. Those who ask at the same moment share the wait.
   */
  keep<T>(key: string, bytes: Uint8Array, write: () => Promise<T>): Promise<T>
  /** Makes sure that no pack brings the key back: for a blob that is to be removed. */
  forget(key: string): Promise<void>
  /** Mends what a full disk kept from being mended. `onFault` hears what still cannot be. */
  mend(onFault: (path: string, error: unknown) => void): Promise<void>
}

interface Pack {
  path: string
  /** Open while records may follow. */
  handle: FileHandle | undefined
  sizeBytes: number
  rounds: number
  keys: Set<string>
  /** Files of its blobs that are being written. */
  writes: Set<Promise<unknown>>
  /** Whether some of its blobs may be torn or missing: it is all that there is of them. */
  isUnmended: boolean
}

interface Waiting {
  key: string
  bytes: Uint8Array
  /** Begins with the file of the blob, once the pack has it. */
  start(): Promise<unknown>
  reject(error: unknown): void
}

/** Opens the packs below the folder of a store, and mends what a crash left of them. */
export async function openPacks(folder: string): Promise<Packs> {
  const place = join(folder, 'packs')
  await makeFolder(place)
  const packs = await replay(folder, place)
  const writer = createWriter(place, packs)
  const inTurn = createTurns()

  const settle = (isDue: (pack: Pack) => boolean): Promise<void> =>
    inTurn(async () => {
      for (const pack of packs.filter(isDue)) {
        await settlePack(folder, pack)
        packs.splice(packs.indexOf(pack), 1)
      }
    })

  const timer = setInterval(() => {
    for (const pack of packs) pack.rounds++
    // One that fails is tried again in the next round; until then it stays, which is safe.
    writer
      .close(() => true)
      .then(() => settle(({ rounds }) => rounds > ROUNDS_KEPT))
      .catch(() => undefined)
  }, ROUND_MS).unref()

  return {
    keep: (key, bytes, write) =>
      new Promise((resolve, reject) => {
        const start = () => {
          const writing = write()
          resolve(writing)
          return writing
        }
        writer.append({ key, bytes, start, reject })
      }),
    async forget(key) {
      const isOfKey = ({ keys }: Pack) => keys.has(key)
      await writer.close(isOfKey)
      await settle(isOfKey)
    },
    mend: (onFault) =>
      inTurn(async () => {
        for (const pack of packs.filter(({ isUnmended }) => isUnmended))
          await mendPack(folder, pack).catch((error: unknown) => onFault(pack.path, error))
      }),
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await writer.close(() => true)
      await settle(() => false)
    },
  }
}

/** Appends to one pack at a time, and closes it only between two appends. */
function createWriter(place: string, packs: Pack[]) {
  const inTurn = createTurns()
  let current: Pack | undefined
  let number = packs.reduce((most, { path }) => Math.max(most, numberOf(path)), 0)
  let waiting: Waiting[] = []

  const close = async () => {
    const pack = current
    current = undefined
    await pack?.handle?.close()
    if (pack !== undefined) pack.handle = undefined
  }

  /** All that wait go together. */
  const drain = async (): Promise<void> => {
    const group = waiting
    waiting = []
    if (group.length === 0) return
    try {
      if (current !== undefined && current.sizeBytes >= PACK_BYTES_MAX) await close()
      if (current === undefined) {
        current = await createPack(place, ++number)
        packs.push(current)
      }
      await append(current, group)
      for (const one of group) follow(current, one.start())
    } catch (error) {
      // What was torn ends this pack: records behind it would not be read.
      await close().catch(() => undefined)
      for (const one of group) one.reject(error)
    }
  }

  return {
    append(one: Waiting): void {
      waiting.push(one)
      // Those who come at the same moment go together, the first one with them.
      setImmediate(() => void inTurn(drain))
    },
    /** Ends the pack that is written to, if it is one of these. */
    close: (isMeant: (pack: Pack) => boolean): Promise<void> =>
      inTurn(async () => {
        if (current !== undefined && isMeant(current)) await close()
      }),
  }
}

/** Remembers that a file is being written for as long as it is; how that ends is for its caller. */
function follow({ writes }: Pack, writing: Promise<unknown>): void {
  writes.add(writing)
  const forget = () => void writes.delete(writing)
  writing.then(forget, forget)
}

/** Runs what it is given one after the other, in order; a failure is its caller's alone. */
function createTurns(): (action: () => Promise<void>) => Promise<void> {
  let last: Promise<void> = Promise.resolve()
  return (action) => {
    const done = last.then(action)
    last = done.catch(() => undefined)
    return done
  }
}

async function createPack(place: string, number: number): Promise<Pack> {
  const path = join(place, `${number}.pack`)
  const handle = await open(path, 'wx', 0o600)
  await syncFolder(place)
  return { ...emptyPack(path), handle }
}

function emptyPack(path: string): Pack {
  const keys = new Set<string>()
  const writes = new Set<Promise<unknown>>()
  return { path, handle: undefined, sizeBytes: 0, rounds: 0, keys, writes, isUnmended: false }
}

async function append(pack: Pack, group: readonly Waiting[]): Promise<void> {
  const { handle } = pack
  if (handle === undefined) throw new Error(`${pack.path} is closed`)
  const bytes = Buffer.concat(group.flatMap(formatPackRecord))
  // Before the write: a record that may be there is one that may come back.
  for (const { key } of group) pack.keys.add(key)
  await handle.appendFile(bytes)
  await handle.datasync()
  pack.sizeBytes += bytes.length
}

/** Puts the blobs of a closed pack onto the disk, then lets go of it. */
async function settlePack(folder: string, pack: Pack): Promise<void> {
  if (pack.isUnmended) await mendPack(folder, pack)
  // Those that are only now being written would be missed.
  await Promise.allSettled(pack.writes)
  const folders = new Set<string>()
  for (const key of pack.keys) {
    const path = pathOfBlob(folder, key)
    const handle = await open(path, 'r').catch((error: unknown) => {
      // Removed, or refused before its file was made: there is nothing to keep.
      if (errorCode(error) === 'ENOENT') return undefined
      throw error
    })
    await handle?.sync().finally(() => handle.close())
    if (handle !== undefined) folders.add(dirname(path))
  }
  for (const at of folders) await syncFolder(at)
  await removeFile(pack.path)
  await syncFolder(dirname(pack.path))
}

/** Mends the blobs of all packs that are there. */
async function replay(folder: string, place: string): Promise<Pack[]> {
  const packs: Pack[] = []
  for (const name of await readdir(place)) {
    if (!PACK_NAME.test(name)) continue
    const pack = emptyPack(join(place, name))
    await mendPack(folder, pack).catch((error: unknown) => {
      if (!isFull(error)) throw error
    })
    packs.push(pack)
  }
  return packs
}

/** Mends the blobs of a pack that a crash left; throws after the last one what the first failed with. */
async function mendPack(folder: string, pack: Pack): Promise<void> {
  let failure: { error: unknown } | undefined
  pack.isUnmended = true
  for (const { key, bytes } of parsePack(await readFile(pack.path))) {
    pack.keys.add(key)
    await mendBlob(folder, key, bytes).catch((error: unknown) => {
      // One that is too large may leave room for the next one.
      if (!isFull(error)) throw error
      failure ??= { error }
    })
  }
  if (failure !== undefined) throw failure.error
  pack.isUnmended = false
}

function isFull(error: unknown): boolean {
  const cause = error instanceof ArtifactError ? error.cause : error
  return ['ENOSPC', 'EDQUOT'].includes(errorCode(cause) ?? '')
}

const numberOf = (path: string) => Number.parseInt(path.split(/[/\\]/).at(-1) ?? '', 10)
