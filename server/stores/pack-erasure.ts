/**
 * Erases from packs what nobody needs: a pack without blobs is removed, one with some is written anew
 * without the rest.
 *
 *     take -> read what is needed -> announce, put, read again -> move -> remove the old object -> drop
 *
 * Whatever breaks off leaves a pack that is due again. Two servers may do the same: blobs are moved
 * by whoever comes first, and the other one's pack is due with nothing in it. What the index does not
 * know of is no waste yet: a pack without blobs is read before it is removed.
 */
import { createHash, randomUUID } from 'node:crypto'
import { ArtifactError } from '../../schemas/problems.ts'
import type { PackBook } from './pack-census.ts'
import { examinePack, PACK_BYTES_MAX } from './pack-examination.ts'
import { formatPackKey, type PackSlice } from './pack-index.ts'
import type { Objects } from './pack-objects.ts'
import { readSlices } from './pack-reader.ts'
import { formatPack, type PackRecord } from './pack-record.ts'

/** Packs of one round. */
const ROUND_MAX = 100
/** Damaged packs that are remembered until they are read again. */
const DAMAGED_MAX = 1000

export interface PackEraser {
  /**
   * Erases what nobody needs of a pack, if it is due; one that another server has taken is left to it.
   * Throws `digest_mismatch` when a blob that stays is damaged: then the next try moves it as it is, if
   * it reads the very same bytes. It keeps its digest, and so is damaged for everybody.
   */
  erase(pack: string): Promise<void>
  /** Erases from all packs that are due. `onFault` hears what failed, and the rest goes on. */
  tidy(onFault: (pack: string, error: unknown) => void): Promise<void>
}

/** What `ObjectPacks` says of its `tidy`. */
export function createPackEraser(objects: Objects, index: PackBook): PackEraser {
  /** What was read of damaged packs, as a digest. */
  const damaged = new Map<string, string>()

  /** The pack in its place. */
  const rewrite = async (pack: string, slices: readonly PackSlice[]): Promise<string> => {
    const anew = randomUUID()
    const bytesOf = await readSlices(
      objects,
      slices.map((slice) => ({ ...slice, pack })),
    )
    const records = slices.map((slice) => keepSlice(slice, bytesOf(slice)))
    checkRecords(pack, records, damaged)
    const written = formatPack(records)
    await index.announce(anew)
    await objects.put(formatPackKey(anew), written.pack)
    await checkKept(objects, anew, written.pack)
    await index.move(pack, anew, written.slices)
    damaged.delete(pack)
    return anew
  }

  const erase = async (first: string): Promise<void> => {
    // What was forgotten while a pack was rewritten makes the new one due.
    for (let pack: string | undefined = first; pack !== undefined; ) {
      const slices: PackSlice[] | undefined = await index.take(pack)
      if (slices === undefined) return
      const object = await objects.stat(formatPackKey(pack))
      // Nothing is there that could be erased; what is missing shows when it is read.
      if (slices.length > 0 && object === undefined) return
      if (slices.length === 0 && object !== undefined)
        if (await salvage(objects, index, pack, Number(object.sizeBytes))) return
      const next: string | undefined = slices.length === 0 ? undefined : await rewrite(pack, slices)
      // A rebuild may have placed a blob here, if this took longer than the pack was taken for.
      if ((await index.census.listKeys(pack)).length > 0) return
      await objects.remove(formatPackKey(pack))
      await index.drop(pack)
      pack = next
    }
  }

  return {
    erase,
    async tidy(onFault) {
      for (const pack of await index.findDue(ROUND_MAX))
        await erase(pack).catch((error: unknown) => onFault(pack, error))
    },
  }
}

/** No blob leaves the pack in which it was verified before the store has shown the other one. */
async function checkKept(
  objects: Pick<Objects, 'read'>,
  pack: string,
  written: Buffer,
): Promise<void> {
  const whole = { pack, firstByte: 0, sizeBytes: written.length }
  const bytesOf = await readSlices(objects, [whole])
  if (written.equals(bytesOf(whole))) return
  throw new ArtifactError('store_unavailable', `Cannot move to pack ${pack}: it was kept otherwise`)
}

/**
 * Places what a record wants and only this pack has: an index from a backup may know of a pack no more
 * than that it was to come. Returns whether there was any of it.
 */
async function salvage(
  objects: Objects,
  { census }: PackBook,
  pack: string,
  sizeBytes: number,
): Promise<boolean> {
  if (sizeBytes > PACK_BYTES_MAX) return false
  const { places } = await examinePack(objects, census, pack, sizeBytes)
  if (places.length === 0) return false
  return census.adopt(pack, { places, isSpare: true, isTaken: true })
}

/** A blob as it was read. What a cut pack lacks of it are zeros: its place has room for all of it. */
function keepSlice({ key, sha256, sizeBytes }: PackSlice, found: Uint8Array): PackRecord {
  const bytes = Buffer.alloc(sizeBytes)
  bytes.set(found)
  return { key, bytes, sha256 }
}

/**
 * In doubt everything stays where it is: what was read wrongly must not become the only copy. Bytes
 * that are the same when they are read a minute later, or later still, are what the store has.
 */
function checkRecords(
  pack: string,
  records: readonly PackRecord[],
  damaged: Map<string, string>,
): void {
  const differing = records.flatMap(({ key, bytes, sha256: expected }) => {
    const found = createHash('sha256').update(bytes).digest('hex')
    return found === expected ? [] : [{ key, expected, found }]
  })
  const [first] = differing
  if (first === undefined) return
  const words = JSON.stringify(differing.map(({ key, found }) => [key, found]))
  const seen = createHash('sha256').update(words).digest('hex')
  if (damaged.get(pack) === seen) return
  const [oldest] = damaged.keys()
  if (damaged.size >= DAMAGED_MAX && oldest !== undefined) damaged.delete(oldest)
  damaged.set(pack, seen)
  const { key, expected, found } = first
  const state = `${differing.length === 1 ? '' : `${differing.length} blobs differ, `}${key} differs`
  throw new ArtifactError('digest_mismatch', `Cannot rewrite pack ${pack}: ${state}`, {
    expected,
    found: `${found}; it goes with the others as it is once it was read so again`,
  })
}
