/**
 * Makes the index of packs agree with the packs of the bucket, which describe themselves: for the day
 * on which Postgres comes from a backup that is older than the bucket, or the notes are lost.
 *
 *     every pack: read, compare, adopt -> every pack that is noted and not there: forget its places
 *                                      -> name what a record wants and no pack has
 *
 * It may run beside servers, may break off anywhere, and may run again. It removes no object.
 */
import pLimit from 'p-limit'
import { ArtifactError } from '../../schemas/problems.ts'
import type { PackCensus } from './pack-census.ts'
import {
  type Examination,
  examinePack,
  PACK_BYTES_MAX,
  type PackFault,
} from './pack-examination.ts'
import { formatPackKey, PACKS, parsePackKey } from './pack-index.ts'
import type { Objects } from './pack-objects.ts'

/** Packs in memory at the same time. */
const PACKS_AT_ONCE = 4
/** Packs of the index that one statement lists. */
const NOTED_AT_ONCE = 1000
/** Faults and references that are named one by one. */
const NAMED_MAX = 200

export interface RebuildOptions {
  /** Only look: nothing is changed. */
  dryRun: boolean
  signal?: AbortSignal | undefined
  /** Hears now and then how many packs have been read. */
  onProgress?: ((packs: number) => void) | undefined
}

/** A fault, and the object that has it, by its key. */
export type FoundFault = { object: string } & (
  | PackFault
  | { kind: 'too-large'; found: string }
  | { kind: 'unread'; found: string }
)

export interface RebuildReport {
  /** Packs that were read, and records in them. */
  packs: number
  records: number
  /** Blobs that had no place, and have one now. */
  added: number
  /** Blobs that were noted where they are not, and are noted where they are now. */
  moved: number
  /** Blobs that were noted where they are not, or that nobody needs, and are noted nowhere now. */
  dropped: number
  /** Of those added: blobs without any record, kept for the day on which one comes back. */
  unrecorded: number
  /** Packs that somebody else was at, with something to add: run it again. */
  busy: number
  /** Sealed artifacts that are in no pack, the first of them by reference. */
  lost: { count: number; references: string[] }
  /** What is wrong with objects of the bucket, the first of them one by one. */
  faults: { count: number; list: FoundFault[] }
}

/**
 * Rebuilds the index. Throws `configuration` when there is not one pack in the bucket, and many in the
 * index; and what the store and the database throw.
 */
export async function rebuildPacks(
  objects: Objects,
  census: PackCensus,
  options: RebuildOptions,
): Promise<RebuildReport> {
  const report: RebuildReport = {
    ...{ packs: 0, records: 0, added: 0, moved: 0, dropped: 0, unrecorded: 0, busy: 0 },
    lost: { count: 0, references: [] },
    faults: { count: 0, list: [] },
  }
  const run: Run = {
    objects,
    census,
    options,
    report,
    seen: new Set(),
    found: new Map(),
    hasFailed: false,
  }
  const turn = pLimit(PACKS_AT_ONCE)
  for await (const page of objects.list(PACKS, options.signal)) {
    const reads = page.map((object) => turn(() => readPack(run, object)))
    // Nothing is under way any more when this throws.
    await Promise.allSettled(reads)
    await Promise.all(reads)
    options.onProgress?.(report.packs)
  }
  await dropGone(run)
  await nameLost(run)
  return report
}

interface Run {
  objects: Objects
  census: PackCensus
  options: RebuildOptions
  report: RebuildReport
  /** Ids of the packs that are there. */
  seen: Set<string>
  /** What a dry run would have moved out of each pack: keys. */
  found: Map<string, Set<string>>
  /** Whether a pack has ended it: the others of its page are left alone then. */
  hasFailed: boolean
}

async function readPack(run: Run, object: { key: string; sizeBytes: number }): Promise<void> {
  const { objects, census, options, report } = run
  options.signal?.throwIfAborted()
  if (run.hasFailed) return
  const { key, sizeBytes } = object
  const pack = parsePackKey(key)
  if (pack === undefined)
    return nameFault(run, { object: key, kind: 'foreign', found: 'the key of no pack' })
  run.seen.add(pack)
  if (sizeBytes > PACK_BYTES_MAX)
    return nameFault(run, { object: key, kind: 'too-large', found: `${sizeBytes} bytes` })
  try {
    const examination = await examinePack(objects, census, pack, sizeBytes)
    report.packs++
    report.records += examination.records
    for (const fault of examination.faults) nameFault(run, { object: key, ...fault })
    await settle(run, pack, examination)
  } catch (error) {
    options.signal?.throwIfAborted()
    const code = error instanceof ArtifactError ? error.code : undefined
    // Rewritten by a server since it was listed.
    if (code === 'blob_missing') run.seen.delete(pack)
    else if (code === 'store_unavailable')
      nameFault(run, { object: key, kind: 'unread', found: String(error) })
    else {
      run.hasFailed = true
      throw error
    }
  }
}

/** Does what is to be done about a pack. */
async function settle(
  { census, options, report, found }: Run,
  pack: string,
  { places, unrecorded, needless, isSpare }: Examination,
): Promise<void> {
  if (options.dryRun) {
    for (const { key, instead } of places)
      if (instead !== undefined && instead !== pack)
        found.set(instead, (found.get(instead) ?? new Set()).add(key))
  } else if (places.length > 0 || isSpare) {
    const isAdopted = await census.adopt(pack, { places, isSpare, isTaken: false })
    if (!isAdopted) {
      if (places.length > 0) report.busy++
      return
    }
  }
  report.dropped += options.dryRun ? needless.length : await census.forgetPlaces(pack, needless)
  report.moved += places.filter(({ instead }) => instead !== undefined).length
  report.added += places.filter(({ instead }) => instead === undefined).length
  report.unrecorded += unrecorded
}

/** Forgets the places in packs that are not in the bucket. */
async function dropGone(run: Run): Promise<void> {
  const { objects, census, options, report, seen, found } = run
  let after: string | undefined
  do {
    const noted = await census.listPacks(after, NOTED_AT_ONCE)
    after = noted.length < NOTED_AT_ONCE ? undefined : noted.at(-1)
    if (noted.length > 0 && seen.size === 0)
      throw new ArtifactError('configuration', 'Cannot rebuild the index: the store has no packs', {
        expected: 'the bucket and prefix that the servers use (--store)',
        found: `no object below ${PACKS}, and packs in the index`,
      })
    for (const pack of noted) {
      options.signal?.throwIfAborted()
      // One that came since the list is there all the same.
      if (seen.has(pack) || (await objects.stat(formatPackKey(pack))) !== undefined) continue
      const keys = await census.listKeys(pack)
      const moved = found.get(pack)
      const gone = keys.filter((key) => moved?.has(key) !== true)
      if (options.dryRun) await nameDropped(run, gone)
      report.dropped += options.dryRun ? gone.length : await census.forgetPlaces(pack, gone)
    }
  } while (after !== undefined)
}

/** Of those that a dry run would drop, what a record wants. */
async function nameDropped({ census, report }: Run, keys: readonly string[]): Promise<void> {
  for (const { standing } of (await census.look(keys)).values())
    if (standing.kind === 'sealed') addLost(report, [standing.reference])
}

async function nameLost({ census, options, report }: Run): Promise<void> {
  let unplaced = 0
  let after: string | undefined
  do {
    options.signal?.throwIfAborted()
    const { references, next } = await census.listUnplaced(after)
    unplaced += references.length
    if (!options.dryRun) addLost(report, references)
    after = next
  } while (after !== undefined)
  // A dry run leaves without a place what it would have added: which of them these are is not kept.
  if (options.dryRun)
    report.lost.count += Math.max(0, unplaced - (report.added - report.unrecorded))
}

function addLost({ lost }: RebuildReport, references: readonly string[]): void {
  lost.count += references.length
  lost.references.push(...references.slice(0, NAMED_MAX - lost.references.length))
}

function nameFault({ report: { faults } }: Run, fault: FoundFault): void {
  faults.count++
  if (faults.list.length < NAMED_MAX) faults.list.push(fault)
}
