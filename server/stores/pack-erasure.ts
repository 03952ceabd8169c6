/**
 * Erases from packs what nobody needs: a pack without blobs is removed, one with some is written anew
 * without the rest.
 *
 *     take -> read what is needed -> announce, put, read again -> move -> remove the old object -> drop
 *
 * Whatever breaks off leaves a pack that is due again. Two servers may do the same: blobs are moved
 * by whoever comes first, and the other one's pack is due with nothing in it.
 */
import { randomUUID } from 'node:crypto'
import { ArtifactError } from '../../schemas/problems.ts'
import { formatPackKey, type PackIndex, type PackSlice } from './pack-index.ts'
import type { Objects } from './pack-objects.ts'
import { readSlices } from './pack-reader.ts'
import { formatPack } from './pack-record.ts'

/** Packs of one round. */
const ROUND_MAX = 100

export interface PackEraser {
  /** Erases what nobody needs of a pack, if it is due; one that another server has taken is left to it. */
  erase(pack: string): Promise<void>
  /** Erases from all packs that are due. `onFault` hears what failed, and the rest goes on. */
  tidy(onFault: (pack: string, error: unknown) => void): Promise<void>
}

/** What `ObjectPacks` says of its `tidy`. */
export function createPackEraser(objects: Objects, index: PackIndex): PackEraser {
  /** The pack in its place. */
  const rewrite = async (pack: string, slices: readonly PackSlice[]): Promise<string> => {
    const anew = randomUUID()
    const bytesOf = await readSlices(
      objects,
      slices.map((slice) => ({ ...slice, pack })),
    )
    const written = formatPack(slices.map((slice) => ({ key: slice.key, bytes: bytesOf(slice) })))
    for (const [at, slice] of slices.entries()) checkSlice(pack, slice, written.slices[at])
    await index.announce(anew)
    await objects.put(formatPackKey(anew), written.pack)
    await checkKept(objects, anew, written.pack)
    await index.move(pack, anew, written.slices)
    return anew
  }

  const erase = async (first: string): Promise<void> => {
    // What was forgotten while a pack was rewritten makes the new one due.
    for (let pack: string | undefined = first; pack !== undefined; ) {
      const slices: PackSlice[] | undefined = await index.take(pack)
      if (slices === undefined) return
      // Nothing is there that could be erased; what is missing shows when it is read.
      if (slices.length > 0 && (await objects.stat(formatPackKey(pack))) === undefined) return
      const next: string | undefined = slices.length === 0 ? undefined : await rewrite(pack, slices)
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

/** In doubt everything stays where it is: what was read wrongly must not become the only copy. */
function checkSlice(pack: string, expected: PackSlice, found: PackSlice | undefined): void {
  if (found?.sha256 === expected.sha256) return
  throw new ArtifactError(
    'digest_mismatch',
    `Cannot rewrite pack ${pack}: ${expected.key} differs`,
    {
      expected: expected.sha256,
      found: found?.sha256,
    },
  )
}
