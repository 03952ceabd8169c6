/**
 * Small blobs of an object store, many in one object. A request costs a gateway some milliseconds,
 * whatever it carries, so what comes at the same moment goes together: into one pack, which is one
 * PUT, and back from it by one GET.
 *
 * A pack is a sequence of self-describing records (`pack-record.ts`); which one has a blob, and
 * where, says the index. Nothing here judges bytes but {@link ObjectPacks.giveOwn}: who reads them
 * has their digest from the record.
 */
import { createHash, randomUUID } from 'node:crypto'
import pLimit from 'p-limit'
import { cutIntoGroups } from '../../schemas/groups.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { type Asked, createGatherer } from './gatherer.ts'
import type { PackBook } from './pack-census.ts'
import { createPackEraser } from './pack-erasure.ts'
import { formatPackedTag, formatPackKey, type PackPlace } from './pack-index.ts'
import type { Objects } from './pack-objects.ts'
import { blobOf, createPackReader } from './pack-reader.ts'
import { type RebuildOptions, type RebuildReport, rebuildPacks } from './pack-rebuild.ts'
import { formatPack } from './pack-record.ts'
import type { Blob, BlobPlan } from './store.ts'

export interface ObjectPacks {
  /** Stores a small blob, with what else comes at this moment if that is enough for a pack. */
  put(plan: BlobPlan, bytes: Uint8Array): Promise<Blob>
  /** Where the blob lies; `undefined` when it is in no pack. */
  find(key: string): Promise<PackPlace | undefined>
  /** The blob at this place, or `undefined` when its pack is not in the store or too short. */
  stat(place: PackPlace): Promise<Blob | undefined>
  /** All bytes of a blob, or fewer when its pack was cut. Throws `blob_missing`, `precondition_failed`. */
  read(key: string, tag: string): Promise<Uint8Array>
  /**
   * The tag of an object with this blob alone, under its own key: no range of a pack can be granted
   * without its neighbours. Made when it is first asked for, and again when it is gone or is another
   * one, of bytes that have their digest. Throws `precondition_failed` when they have not, `blob_missing`.
   */
  giveOwn(plan: Pick<BlobPlan, 'key' | 'contentType'>, tag: string): Promise<string>
  /** Removes what there is of a blob: its own object, its place, and its bytes out of the pack. */
  remove(key: string): Promise<void>
  /** Erases what removals and crashes left behind. `onFault` hears what failed, and the rest goes on. */
  tidy(onFault: (pack: string, error: unknown) => void): Promise<void>
  /** Makes the index agree with the packs that are there: {@link rebuildPacks}. */
  rebuild(options: RebuildOptions): Promise<RebuildReport>
}

/** Fewer than these go alone: what is read one by one costs less so. */
const PACKED_MIN = 4
/** Bytes of blobs in one pack; rewriting one after a removal costs as much. */
const PACK_BYTES_MAX = 4 * 1024 ** 2
/** Packs on their way at the same time. */
const PUTS_AT_ONCE = 4

interface NewBlob {
  plan: BlobPlan
  bytes: Uint8Array
}

/** Opens the packs of a store; the index knows them, whoever made them. */
export function createObjectPacks(objects: Objects, index: PackBook): ObjectPacks {
  const reader = createPackReader(objects, index)
  const eraser = createPackEraser(objects, index)
  const turn = pLimit(PUTS_AT_ONCE)

  const put = createGatherer<NewBlob, Blob>(async (asked) => {
    const keys = asked.map(({ question }) => question.plan.key)
    const known = new Map((await index.find(keys)).map((place) => [place.key, place]))
    const fresh = asked.filter(({ question, resolve }) => {
      const place = known.get(question.plan.key)
      // It was acknowledged before: a key is bound to one content.
      if (place !== undefined) resolve(blobOf(place))
      return place === undefined
    })
    if (fresh.length < PACKED_MIN)
      for (const { question, resolve } of fresh)
        resolve(objects.putAlone(question.plan, question.bytes))
    else await Promise.all(Array.from(cutIntoPacks(fresh), (some) => turn(() => putPack(some))))
  })

  /** Fails for those of this pack alone. */
  const putPack = async (asked: readonly Asked<NewBlob, Blob>[]): Promise<void> => {
    try {
      const records = asked.map(({ question: { plan, bytes } }) => ({ key: plan.key, bytes }))
      const { pack, slices } = formatPack(records)
      const id = randomUUID()
      await index.announce(id)
      await objects.put(formatPackKey(id), pack)
      await index.place(id, slices)
      for (const [at, { resolve }] of asked.entries()) {
        const slice = slices[at]
        if (slice !== undefined) resolve(blobOf(slice))
      }
    } catch (error) {
      for (const { reject } of asked) reject(error)
    }
  }

  return {
    put: (plan, bytes) => put({ plan, bytes }),
    find: reader.find,
    stat: reader.stat,
    read: (key, tag) => reader.read({ key, tag }),

    async giveOwn(plan, tag) {
      const { key } = plan
      const place = await reader.find(key)
      if (place?.ownTag !== undefined && formatPackedTag(place.sha256) === tag) {
        const own = await objects.stat(key)
        if (own?.tag === place.ownTag) return own.tag
        // A record of a pack rests on no object of its own: one that was put in its place can go.
        if (own !== undefined) await objects.remove(key)
      }
      const bytes = await reader.read({ key, tag })
      const found = formatPackedTag(createHash('sha256').update(bytes).digest('hex'))
      if (found !== tag)
        throw new ArtifactError('precondition_failed', `Cannot read ${key}: its bytes changed`, {
          expected: tag,
          found,
        })
      const own = await putOwn(objects, plan, bytes)
      if (await index.keepOwn(key, own.tag)) return own.tag
      // Removed while it was put: nothing knows of this object any more.
      await objects.remove(key)
      throw new ArtifactError('blob_missing', `Cannot read ${key}: it is not in the store`)
    },

    async remove(key) {
      // The place first: from here on nobody makes it an object of its own.
      const pack = await index.forget(key)
      await objects.remove(key)
      if (pack !== undefined) await eraser.erase(pack)
    },

    tidy: eraser.tidy,
    rebuild: (options) => rebuildPacks(objects, index.census, options),
  }
}

/**
 * The object of a blob alone. One that is there and noted nowhere is looked at: it was left by a crash, put
 * by another server at this moment, or is somebody else's.
 */
async function putOwn(
  objects: Objects,
  plan: Pick<BlobPlan, 'key' | 'contentType'>,
  bytes: Uint8Array,
): Promise<Blob> {
  const put = await objects.putNew(plan, bytes)
  if (put !== undefined) return put
  const there = await objects.stat(plan.key)
  if (there !== undefined && (await holds(objects, plan.key, there, bytes))) return there
  await objects.remove(plan.key)
  return objects.putAlone(plan, bytes)
}

async function holds(
  objects: Objects,
  key: string,
  { sizeBytes }: Blob,
  bytes: Uint8Array,
): Promise<boolean> {
  if (sizeBytes !== BigInt(bytes.length)) return false
  const found: Uint8Array[] = []
  if (sizeBytes > 0n)
    for await (const chunk of objects.read(key, { start: 0n, end: sizeBytes }))
      found.push(Buffer.from(chunk))
  return Buffer.concat(found).equals(bytes)
}

/** What goes together into packs, in order. */
function cutIntoPacks<T extends Asked<NewBlob, Blob>>(asked: readonly T[]): Iterable<T[]> {
  return cutIntoGroups(asked, ({ question }) => question.bytes.length, {
    weightMax: PACK_BYTES_MAX,
  })
}
