/** Reads blobs out of packs: those that are wanted at the same moment together, neighbours in one request. */
import pLimit from 'p-limit'
import { ArtifactError } from '../../schemas/problems.ts'
import { type Asked, createGatherer } from './gatherer.ts'
import type { PackSlice } from './pack-index.ts'
import { formatPackedTag, formatPackKey, type PackIndex, type PackPlace } from './pack-index.ts'
import type { Objects } from './pack-objects.ts'
import type { Blob } from './store.ts'

/** What lies between two blobs is read too when it is less: cheaper than another request. */
const GAP_BYTES_MAX = 64 * 1024
/** Of one request, unless a single blob is larger. */
const RANGE_BYTES_MAX = 4 * 1024 ** 2
/** Requests of this process for parts of packs; with the size of each they bound its memory. */
const READS_AT_ONCE = 8

interface Wanted {
  key: string
  tag: string
}

/** A pack that is there and not noted may have it. */
const REBUILD = {
  expected: 'a note of where it lies (artifact packs rebuild finds what the bucket has)',
}

type AskedBytes = Asked<Wanted, Uint8Array>

export interface PackReader {
  find(key: string): Promise<PackPlace | undefined>
  stat(place: PackPlace): Promise<Blob | undefined>
  read(wanted: Wanted): Promise<Uint8Array>
}

/** What `ObjectPacks` says of its `find`, `stat` and `read`. */
export function createPackReader(objects: Objects, index: PackIndex): PackReader {
  const turn = pLimit(READS_AT_ONCE)

  const find = createGatherer<string, PackPlace | undefined>(async (asked) => {
    const places = await findAll(
      index,
      asked.map(({ question }) => question),
    )
    for (const { question, resolve } of asked) resolve(places.get(question))
  })

  /** Sizes of the objects of packs. */
  const measure = createGatherer<string, bigint | undefined>(async (asked) => {
    const packs = Map.groupBy(asked, ({ question }) => question)
    await Promise.all(
      Array.from(packs, async ([pack, some]) => {
        const blob = await objects.stat(formatPackKey(pack))
        for (const { resolve } of some) resolve(blob?.sizeBytes)
      }),
    )
  })

  const read = createGatherer<Wanted, Uint8Array>(async (asked) => {
    const missed = await readOnce(asked)
    if (missed.length === 0) return
    // Their pack is gone: it may have been rewritten between the look and the read.
    for (const { question, reject } of await readOnce(missed)) reject(missing(question.key))
  })

  /** Settles all but those whose pack is not there. */
  const readOnce = async (asked: readonly AskedBytes[]): Promise<AskedBytes[]> => {
    const places = await findAll(
      index,
      asked.map(({ question }) => question.key),
    )
    const found: Placed[] = []
    for (const one of asked) {
      const { key, tag } = one.question
      const place = places.get(key)
      if (place === undefined) one.reject(unplaced(key))
      else if (formatPackedTag(place.sha256) !== tag) one.reject(otherBlob(key, tag, place))
      else found.push({ ...place, asked: one })
    }
    const ranges = Array.from(Map.groupBy(found, ({ pack }) => pack).values()).flatMap(
      joinNeighbours,
    )
    const missed: AskedBytes[] = []
    await Promise.all(
      ranges.map((range) =>
        turn(async () => {
          try {
            const bytes = await readSlices(objects, range)
            for (const { asked, ...slice } of range) asked.resolve(bytes(slice))
          } catch (error) {
            const isGone = error instanceof ArtifactError && error.code === 'blob_missing'
            for (const { asked } of range)
              if (isGone) missed.push(asked)
              else asked.reject(error)
          }
        }),
      ),
    )
    return missed
  }

  return {
    find,
    async stat(place) {
      const sizeBytes = await measure(place.pack)
      const isThere = sizeBytes !== undefined && sizeBytes >= place.firstByte + place.sizeBytes
      return isThere ? blobOf(place) : undefined
    },
    read,
  }
}

/** A blob in a pack, as every store describes one. */
export function blobOf({ sha256, sizeBytes }: PackSlice): Blob {
  return { sizeBytes: BigInt(sizeBytes), tag: formatPackedTag(sha256) }
}

/** Reads slices of one pack by one request, from the first byte of them to the last. A slice is short where the pack is. */
export async function readSlices(
  objects: Pick<Objects, 'read'>,
  slices: readonly Pick<PackPlace, 'pack' | 'firstByte' | 'sizeBytes'>[],
): Promise<(slice: Pick<PackSlice, 'firstByte' | 'sizeBytes'>) => Uint8Array> {
  const [first] = slices
  const start = Math.min(...slices.map(({ firstByte }) => firstByte))
  const end = Math.max(...slices.map(endOf))
  const bytes = Buffer.allocUnsafeSlow(first === undefined ? 0 : end - start)
  let length = 0
  if (first !== undefined && bytes.length > 0) {
    const range = { start: BigInt(start), end: BigInt(end) }
    for await (const chunk of objects.read(formatPackKey(first.pack), range)) {
      bytes.set(chunk.subarray(0, bytes.length - length), length)
      length += Math.min(chunk.length, bytes.length - length)
    }
  }
  const found = bytes.subarray(0, length)
  return ({ firstByte, sizeBytes }) =>
    found.subarray(firstByte - start, firstByte - start + sizeBytes)
}

type Placed = PackPlace & { asked: AskedBytes }

async function findAll(index: PackIndex, keys: readonly string[]): Promise<Map<string, PackPlace>> {
  return new Map((await index.find(keys)).map((place) => [place.key, place]))
}

/** Slices of one pack in order, cut where one request would read too much, or too much for nothing. */
function joinNeighbours<T extends PackSlice>(slices: readonly T[]): T[][] {
  const ranges: T[][] = []
  let start = 0
  let end = 0
  for (const slice of slices.toSorted((one, other) => one.firstByte - other.firstByte)) {
    const range = ranges.at(-1)
    const isNear = slice.firstByte - end <= GAP_BYTES_MAX && endOf(slice) - start <= RANGE_BYTES_MAX
    if (range !== undefined && isNear) range.push(slice)
    else {
      ranges.push([slice])
      start = slice.firstByte
    }
    end = Math.max(endOf(slice), range === undefined ? 0 : end)
  }
  return ranges
}

function endOf({ firstByte, sizeBytes }: Pick<PackSlice, 'firstByte' | 'sizeBytes'>): number {
  return firstByte + sizeBytes
}

function missing(key: string): ArtifactError {
  return new ArtifactError(
    'blob_missing',
    `Cannot read ${key}: its pack is not in the store`,
    REBUILD,
  )
}

function unplaced(key: string): ArtifactError {
  return new ArtifactError('blob_missing', `Cannot read ${key}: no pack is noted for it`, REBUILD)
}

function otherBlob(key: string, tag: string, place: PackPlace): ArtifactError {
  return new ArtifactError('precondition_failed', `Cannot read ${key}: it is another object`, {
    expected: tag,
    found: formatPackedTag(place.sha256),
  })
}
