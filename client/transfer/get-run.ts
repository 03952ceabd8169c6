/**
 * Getting a whole run into a folder.
 */
import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { RunSelector } from '../../schemas/reference.ts'
import { type DraftFolder, openDraftFolder } from '../disk/draft-folder.ts'
import { type FolderPaths, openFolderPaths } from '../disk/safe-path.ts'
import { type Trust, trustOf } from '../trust/trust.ts'
import { acceptExisting } from './accept-existing.ts'
import { type Budget, createBudget, DEFAULT_CONCURRENCY } from './budget.ts'
import type { Connection } from './connection.ts'
import { getVouched } from './get.ts'
import type { GetOptions, GetResult } from './get-options.ts'
import {
  cutIntoAnswers,
  getSmall,
  isSmallArtifact,
  type SmallGet,
  type SmallTarget,
} from './get-small.ts'
import { type Crew, createCrew, forEachLimited } from './limited.ts'
import {
  createFailureLog,
  createTotalMeter,
  type FailedFile,
  type FailureLog,
  filesAtOnce,
} from './many.ts'
import { completeClaim } from './record.ts'
import { openListing } from './run-listing.ts'

/** Batches of small artifacts on their way at the same time. */
const ANSWERS_AT_ONCE = 3

export interface GetRunOptions extends Omit<GetOptions, 'output' | 'spool' | 'spoolFolder'> {
  /**
   * Hears of every artifact that came, and is waited for. Then the result does not keep them, and
   * `done` stays empty: of a million files nobody needs a million records in memory.
   */
  onGot?: ((result: GetResult) => void | Promise<void>) | undefined
  /** Only names that begin with it. */
  prefix?: string | undefined
}

export interface GetRunResult {
  task: string
  /** `undefined` when `latest` was asked for and there is none. */
  run: number | undefined
  /** In no order; empty when each was told. */
  done: GetResult[]
  failed: FailedFile[]
}

/**
 * Gets all artifacts of a run into a folder, each verified; never writes outside that folder. A file
 * that is there already and is the artifact counts as done, so that the same call can be repeated.
 * What fails is named in the result; it throws when the run cannot be listed.
 */
export async function getRun(
  connection: Connection,
  task: string,
  run: RunSelector,
  folder: string,
  options: GetRunOptions = {},
): Promise<GetRunResult> {
  const signal = options.signal ?? new AbortController().signal
  const listing = await openListing(connection, { task, run, prefix: options.prefix }, signal)
  const found = listing.run
  const paths = await openFolderPaths(folder)
  const budget = createBudget(options)
  // One for all of them: the history is joined once, and then only as it grows.
  const trust = options.trust ?? trustOf(connection)
  const log = createFailureLog()
  const done: GetResult[] = []
  const total = createTotalMeter('receiving', `${task}/${found ?? run}`, options.onProgress)
  total.expect(listing.count, listing.sizeBytes)
  const ledger: Ledger = {
    log,
    async succeed(result) {
      if (options.onGot === undefined) done.push(result)
      else await options.onGot(result)
      total.end(result.artifact.name, BigInt(result.artifact.sizeBytes), true)
    },
    fail({ name, sizeBytes }, error) {
      log.add(name, error)
      total.end(name, BigInt(sizeBytes), false)
    },
  }
  const atOnce = filesAtOnce(options.concurrency ?? DEFAULT_CONCURRENCY)
  const getAlone = async (target: SmallTarget) => {
    try {
      if (log.fatal !== undefined) throw log.fatal
      const onProgress = total.watchFile(target.record.name)
      const one = { ...options, trust, signal, onProgress }
      await ledger.succeed(await getOne(connection, budget, target, one))
    } catch (error) {
      ledger.fail(target.record, error)
    }
  }
  const shared = { connection, budget, trust, signal, ...pickFlags(options) }
  await using drafts = createDrafts(paths.root)
  const getEach = (left: SmallTarget[]) => forEachLimited(left, atOnce, getAlone)
  const small = createCrew(ANSWERS_AT_ONCE, async (batch: SmallTarget[]) => {
    // Why it cannot be made, each of them finds out for itself.
    const folder = await drafts.open().catch(() => undefined)
    if (folder === undefined) return getEach(batch)
    return getTogether({ ...shared, drafts: folder }, batch, ledger, getEach)
  })
  const large = createCrew(atOnce, getAlone)
  try {
    for await (const page of listing.pages()) {
      const targets = await claimPaths(paths, page, ledger)
      const together = targets.filter(({ record }) => isSmallArtifact(record))
      const alone = targets.filter(({ record }) => !isSmallArtifact(record))
      await Promise.all([takeAll(small, cutIntoAnswers(together)), takeAll(large, alone)])
    }
  } catch (error) {
    // What was not listed cannot be named.
    log.add(`${task}/${found ?? run}`, error)
  } finally {
    await Promise.all([small.end(), large.end()])
  }
  return { task, run: found, done, failed: log.failed }
}

async function takeAll<T>(crew: Crew<T>, items: Iterable<T>): Promise<void> {
  for (const item of items) await crew.take(item)
}

/** The folder of drafts, made when it is first wanted. */
function createDrafts(root: string) {
  let drafts: Promise<DraftFolder> | undefined
  return {
    open() {
      drafts ??= openDraftFolder(root)
      return drafts
    },
    async [Symbol.asyncDispose]() {
      const opened = await drafts?.catch(() => undefined)
      await opened?.[Symbol.asyncDispose]()
    },
  }
}

/** Where the outcomes of files go. */
interface Ledger {
  log: FailureLog
  succeed(result: GetResult): Promise<void>
  fail(record: Artifact, error: unknown): void
}

const pickFlags = ({ force = false, verify }: GetRunOptions) => ({ force, verify })

/** Gets a batch of small artifacts; those that it leaves go to `getAlone`. */
async function getTogether(
  job: Omit<SmallGet, 'run'>,
  batch: SmallTarget[],
  { log, succeed }: Ledger,
  getAlone: (left: SmallTarget[]) => Promise<void>,
): Promise<void> {
  const [first] = batch
  if (first === undefined) return
  if (log.fatal !== undefined) return getAlone(batch)
  const { task, run } = first.record
  const results = await getSmall({ ...job, run: { task, run } }, batch)
  for (const result of results.values()) await succeed(result)
  await getAlone(batch.filter((target) => !results.has(target)))
}

/** The path of each record, in order; what cannot have one has failed. */
async function claimPaths(
  paths: FolderPaths,
  records: readonly Artifact[],
  { fail }: Ledger,
): Promise<SmallTarget[]> {
  const targets: SmallTarget[] = []
  for (const record of records)
    try {
      targets.push({ record, path: await paths.claim(record.name) })
    } catch (error) {
      fail(record, error)
    }
  return targets
}

async function getOne(
  connection: Connection,
  budget: Budget,
  { record, path }: SmallTarget,
  options: GetRunOptions & { signal: AbortSignal; trust: Trust },
): Promise<GetResult> {
  const { signal, trust, verify } = options
  const known = await completeClaim(connection, record, signal)
  const { checks } = await trust.vouch(known, { demand: verify, signal })
  const claim = { ...known, checks }
  try {
    return await getVouched(budget, connection, claim, { ...options, output: path })
  } catch (error) {
    if (!(error instanceof ArtifactError) || error.code !== 'target_exists') throw error
    return await acceptExisting(path, claim, signal, error)
  }
}
