/**
 * Reads a pack as a stranger: what it says of itself is compared with what it holds, with what the
 * records want and with what is noted, and decides which blobs get a place in it.
 *
 * A pack proves nothing. A blob is placed because a record names its key and its digest; whoever reads
 * it there compares once more. Nothing is removed: of what nobody needs the pack becomes due.
 */
import { createHash } from 'node:crypto'
import { ArtifactError } from '../../schemas/problems.ts'
import type { KnownBlob, NewPlace, PackCensus } from './pack-census.ts'
import { formatPackKey, type PackPlace } from './pack-index.ts'
import type { Objects } from './pack-objects.ts'
import { readSlices } from './pack-reader.ts'
import { type FoundRecord, walkPack } from './pack-record.ts'

/** No pack of this program is larger: 4 MiB of blobs, and their heads. */
export const PACK_BYTES_MAX = 8 * 1024 ** 2

/** What is not as it should be with an object among the packs. */
export type PackFault =
  | { kind: 'foreign'; found: string }
  | { kind: 'cut'; found: string }
  | { kind: 'changed'; key: string; reference: string | undefined }
  | { kind: 'other'; key: string; reference: string; expected: string; found: string }

/** What there is to do about a pack. */
export interface Examination {
  /** Records that it has. */
  records: number
  /** Places that it gets. */
  places: NewPlace[]
  /** Of these, blobs of which there is no record at all. */
  unrecorded: number
  /** Blobs that are noted there and that nobody needs. */
  needless: string[]
  /** Whether it has what nobody needs there. */
  isSpare: boolean
  faults: PackFault[]
}

/** Examines a pack. Throws `blob_missing` when it is not there, and what the store throws. */
export async function examinePack(
  objects: Objects,
  census: PackCensus,
  pack: string,
  sizeBytes: number,
): Promise<Examination> {
  const result: Examination = {
    ...{ records: 0, places: [], unrecorded: 0, needless: [], isSpare: false, faults: [] },
  }
  const records = readRecords(await readWhole(objects, pack, sizeBytes), result)
  result.records = records.length
  if (records.length === 0) return result
  const isNoted = await census.isNoted(pack)
  const known = await census.look(records.map(({ key }) => key))
  const elsewhere = createComparison(objects)
  for (const record of records) {
    const blob = known.get(record.key)
    if (blob === undefined) continue
    const { standing } = blob
    if (!record.isIntact) {
      const reference = standing.kind === 'sealed' ? standing.reference : undefined
      result.faults.push({ kind: 'changed', key: record.key, reference })
    }
    const decision = await decide(pack, record, blob, isNoted, elsewhere)
    if (decision === 'place') {
      const { isIntact, ...slice } = record
      result.places.push({ ...slice, instead: blob.place?.pack })
      if (standing.kind === 'unknown') result.unrecorded++
    } else if (decision === 'spare') result.isSpare = true
    else if (decision === 'needless') result.needless.push(record.key)
    else if (decision === 'other' && standing.kind === 'sealed') {
      const { reference, sha256: expected } = standing
      result.faults.push({
        ...{ kind: 'other', key: record.key, reference, expected, found: record.sha256 },
      })
    }
  }
  return result
}

async function readWhole(objects: Objects, pack: string, sizeBytes: number): Promise<Buffer> {
  const whole = { pack, firstByte: 0, sizeBytes }
  return Buffer.from((await readSlices(objects, [whole]))(whole))
}

/** The first record of each key; notes in the examination what cannot be read. */
function readRecords(pack: Buffer, { faults }: Examination): FoundRecord[] {
  const records = new Map<string, FoundRecord>()
  const walk = walkPack(pack)
  let step = walk.next()
  for (; step.done !== true; step = walk.next())
    if (!records.has(step.value.key)) records.set(step.value.key, step.value)
  if (step.value === 0) faults.push({ kind: 'foreign', found: 'no record at its beginning' })
  else if (step.value < pack.length)
    faults.push({ kind: 'cut', found: `${step.value} of ${pack.length} bytes are records` })
  return [...records.values()]
}

/** How the bytes at another place are. */
type Elsewhere = 'agree' | 'differ' | 'gone'

/**
 *     place      it gets its place here
 *     spare      nobody needs it here
 *     needless   the same, and it is noted here
 *     other      it is not what the record wants
 *     stay       nothing changes
 */
type Decision = 'place' | 'spare' | 'needless' | 'other' | 'stay'

async function decide(
  pack: string,
  record: FoundRecord,
  { standing, place }: KnownBlob,
  isNoted: boolean,
  elsewhere: (place: PackPlace) => Promise<Elsewhere>,
): Promise<Decision> {
  const isHere = place?.pack === pack
  if (standing.kind === 'over') return isHere ? 'needless' : 'spare'
  if (standing.kind === 'unknown') {
    // Of a noted pack they were forgotten on purpose, together with their upload.
    if (isNoted || place !== undefined || !record.isIntact) return 'stay'
    return 'place'
  }
  if (standing.sha256 !== undefined && standing.sha256 !== record.sha256) return 'other'
  // Damaged bytes keep the place that shows where they are; an upload is sent again rather.
  if (place === undefined) return record.isIntact || standing.kind === 'sealed' ? 'place' : 'stay'
  if (isHere) return isSamePlace(place, record) ? 'stay' : 'place'
  const there = await elsewhere(place)
  if (there === 'agree') return 'spare'
  return there === 'gone' || record.isIntact ? 'place' : 'stay'
}

function isSamePlace(place: PackPlace, record: FoundRecord): boolean {
  return (
    place.firstByte === record.firstByte &&
    place.sizeBytes === record.sizeBytes &&
    place.sha256 === record.sha256
  )
}

/** Looks once at each pack whether it is there, and reads of it what is asked for. */
function createComparison(objects: Objects): (place: PackPlace) => Promise<Elsewhere> {
  const isThere = new Map<string, boolean>()
  return async (place) => {
    const { pack, sha256 } = place
    if (!isThere.has(pack))
      isThere.set(pack, (await objects.stat(formatPackKey(pack))) !== undefined)
    if (isThere.get(pack) !== true) return 'gone'
    try {
      const bytes = (await readSlices(objects, [place]))(place)
      return createHash('sha256').update(bytes).digest('hex') === sha256 ? 'agree' : 'differ'
    } catch (error) {
      if (error instanceof ArtifactError && error.code === 'blob_missing') return 'gone'
      throw error
    }
  }
}
