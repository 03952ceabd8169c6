/**
 * Getting a whole run into a folder.
 */
import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { RunSelector } from '../../schemas/reference.ts'
import { openDraftFolder } from '../disk/draft-folder.ts'
import { type FolderPaths, openFolderPaths } from '../disk/safe-path.ts'
import { type Trust, trustOf } from '../trust/trust.ts'
import { acceptExisting } from './accept-existing.ts'
import { type Budget, createBudget, DEFAULT_CONCURRENCY } from './budget.ts'
import type { Connection } from './connection.ts'
import { getVouched } from './get.ts'
import type { GetOptions, GetResult } from './get-options.ts'
import {
  getSmall,
  isSmallArtifact,
  planAnswers,
  type SmallGet,
  type SmallTarget,
} from './get-small.ts'
import { forEachLimited } from './limited.ts'
import {
  createFailureLog,
  createTotalMeter,
  type FailedFile,
  type FailureLog,
  filesAtOnce,
} from './many.ts'
import { completeClaim } from './record.ts'
import { openListing } from './run-listing.ts'

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
  // What is not listed any more cannot be named.
  const nameRest = (error: unknown) => log.add(`${task}/${found ?? run}`, error)
  const getSome = async (records: readonly Artifact[]) => {
    const targets = await claimPaths(paths, records, ledger)
    const small = targets.filter(({ record }) => isSmallArtifact(record))
    const large = targets.filter(({ record }) => !isSmallArtifact(record))
    await Promise.all([
      getTogether(shared, paths.root, small, ledger, (left) =>
        forEachLimited(left, atOnce, getAlone),
      ),
      forEachLimited(large, atOnce, getAlone),
    ])
  }
  for await (const records of listing.groups(nameRest)) await getSome(records)
  return { task, run: found, done, failed: log.failed }
}

/** Where the outcomes of files go. */
interface Ledger {
  log: FailureLog
  succeed(result: GetResult): Promise<void>
  fail(record: Artifact, error: unknown): void
}

const pickFlags = ({ force = false, verify, concurrency }: GetRunOptions) => ({
  force,
  verify,
  concurrency,
})

/** Gets small artifacts in batches; those that a batch leaves go to `getAlone`. */
async function getTogether(
  {
    concurrency,
    ...job
  }: Omit<SmallGet, 'run' | 'drafts' | 'bytesMax'> & Pick<GetRunOptions, 'concurrency'>,
  root: string,
  targets: readonly SmallTarget[],
  { log, succeed }: Ledger,
  getAlone: (left: SmallTarget[]) => Promise<void>,
): Promise<void> {
  const [first] = targets
  if (first === undefined) return
  const { task, run } = first.record
  await using drafts = await openDraftFolder(root)
  const isFar = job.connection.isFar()
  const { batches, atOnce, weightMax: bytesMax } = planAnswers(targets, { isFar, concurrency })
  await forEachLimited(batches, atOnce, async (batch) => {
    if (log.fatal !== undefined) return getAlone(batch)
    const results = await getSmall({ ...job, run: { task, run }, drafts, bytesMax }, batch)
    for (const result of results.values()) await succeed(result)
    await getAlone(batch.filter((target) => !results.has(target)))
  })
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
