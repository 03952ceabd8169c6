/**
 * Getting a whole run into a folder.
 */
import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { RunSelector } from '../../schemas/reference.ts'
import { call } from '../api.ts'
import { type FolderPaths, openFolderPaths } from '../disk/safe-path.ts'
import { type Trust, trustOf } from '../trust/trust.ts'
import { type Budget, createBudget, DEFAULT_CONCURRENCY } from './budget.ts'
import type { Connection } from './connection.ts'
import { getVouched, type VouchedClaim } from './get.ts'
import type { GetOptions, GetResult } from './get-options.ts'
import { forEachLimited } from './limited.ts'
import { createFailureLog, createTotalMeter, type FailedFile, filesAtOnce } from './many.ts'
import { completeClaim } from './record.ts'
import { verifyLocal } from './verify-file.ts'

/** Largest page of the listing. */
const PAGE = 1000

export interface GetRunOptions extends Omit<GetOptions, 'output' | 'spool' | 'spoolFolder'> {
  /** Only names that begin with it. */
  prefix?: string | undefined
}

export interface GetRunResult {
  task: string
  /** `undefined` when `latest` was asked for and there is none. */
  run: number | undefined
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
  const records = await listAll(connection, task, run, options.prefix, signal)
  const [first] = records
  const found = typeof run === 'number' ? run : first?.run
  const paths = await openFolderPaths(folder)
  const budget = createBudget(options)
  // One for all of them: the history is joined once, and then only as it grows.
  const trust = options.trust ?? trustOf(connection)
  const log = createFailureLog()
  const done: GetResult[] = []
  const total = createTotalMeter('receiving', `${task}/${found ?? run}`, options.onProgress)
  total.expect(
    records.length,
    records.reduce((sum, record) => sum + BigInt(record.sizeBytes), 0n),
  )
  const limit = filesAtOnce(options.concurrency ?? DEFAULT_CONCURRENCY)
  await forEachLimited(records, limit, async (record) => {
    const sizeBytes = BigInt(record.sizeBytes)
    try {
      if (log.fatal !== undefined) throw log.fatal
      const onProgress = total.watchFile(record.name)
      const one = { ...options, trust, signal, onProgress }
      done.push(await getOne(connection, budget, paths, record, one))
      total.end(record.name, sizeBytes, true)
    } catch (error) {
      log.add(record.name, error)
      total.end(record.name, sizeBytes, false)
    }
  })
  return { task, run: found, done, failed: log.failed }
}

async function getOne(
  connection: Connection,
  budget: Budget,
  paths: FolderPaths,
  record: Artifact,
  options: GetRunOptions & { signal: AbortSignal; trust: Trust },
): Promise<GetResult> {
  const { signal, trust, verify } = options
  const path = await paths.claim(record.name)
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

/** A file that is there is good enough if it is this very artifact; else the first error stands. */
async function acceptExisting(
  path: string,
  claim: VouchedClaim,
  signal: AbortSignal,
  refusal: ArtifactError,
): Promise<GetResult> {
  const checks = await verifyLocal(path, claim, { signal }).catch((error: unknown) => {
    const isInterrupted = error instanceof ArtifactError && error.code === 'interrupted'
    throw isInterrupted ? error : refusal
  })
  return {
    artifact: claim.record,
    path,
    checks: [...checks, ...claim.checks],
    receivedBytes: 0n,
    resumedBytes: 0n,
  }
}

/** All records of a run; `latest` is settled by the first page, so that no page is of another run. */
async function listAll(
  connection: Connection,
  task: string,
  run: RunSelector,
  prefix: string | undefined,
  signal: AbortSignal,
): Promise<Artifact[]> {
  const records: Artifact[] = []
  let after: string | undefined
  do {
    const page = await call(
      connection,
      'listArtifacts',
      { params: { task, run: records[0]?.run ?? run }, query: { prefix, after, limit: PAGE } },
      { signal },
    )
    const settled = records[0]?.run ?? page.items[0]?.run ?? run
    for (const record of page.items) checkListed(record, task, settled)
    records.push(...page.items)
    if (page.next !== null && page.next === after)
      throw new ArtifactError('bad_reply', `Cannot list ${task}/${run}: the listing does not end`)
    after = page.next ?? undefined
  } while (after !== undefined)
  return records
}

function checkListed(record: Artifact, task: string, run: RunSelector): void {
  const isListed = record.task === task && (run === 'latest' || record.run === run)
  if (isListed) return
  throw new ArtifactError('bad_reply', `Cannot list ${task}/${run}: another run is among it`, {
    expected: `${task}/${run}`,
    found: record.reference,
  })
}
