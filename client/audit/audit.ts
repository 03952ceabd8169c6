/**
 * An audit: whether a log, and everything that its server serves, is what was signed.
 *
 *     head -> history -> entries, tree, tiles, names -> records -> remember
 *
 * Only what was found faultless is remembered, so an audit that goes on where the last one ended
 * stands on ground that was checked.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import type { Connection } from '../transfer/connection.ts'
import { pause } from '../transfer/retry.ts'
import { type Anchor, createHistory, type TrustNotice } from '../trust/history.ts'
import type { KnownLogs } from '../trust/known-logs.ts'
import { rememberForNow } from '../trust/known-logs.ts'
import { fetchCheckpoint } from '../trust/log-files.ts'
import { type OpenedCheckpoint, openCheckpoint } from '../verify/checkpoint.ts'
import { type Policy, trustLog } from '../verify/policy.ts'
import { createTreeBuilder, type TreeBuilder } from '../verify/tree-builder.ts'
import { hasAuditMemory, openAuditMemory, readAuditNote, writeAuditNote } from './audit-memory.ts'
import { createFindings, type Findings } from './findings.ts'
import { holding, type RebuildCount, type RebuildParts, rebuildTo } from './rebuild.ts'
import {
  compareRecord,
  compareSealedRuns,
  compareUnsealedRuns,
  type RecordCount,
} from './records.ts'

/** How often a record without a leaf is looked for again, and how long in between. */
const SECOND_LOOKS = 10
const SECOND_LOOK_MS = 500

export interface AuditOptions {
  /** Whose signatures count. */
  policy: Policy
  /** Where the auditor's memory is. */
  folder: string
  /** The heads that this user has seen, and where evidence goes. */
  known: KnownLogs
  /** A head that somebody else has vouched for. */
  checkpoint?: string | Uint8Array | undefined
  /** Compare every tile and the digests of all parts [a sample of the tiles]. */
  full?: boolean
  /** Go on where the last audit ended; without one, everything is read. */
  sinceLast?: boolean
  onNotice?: ((notice: TrustNotice) => void) | undefined
  onProgress?: ((leaves: number, size: number) => void) | undefined
  signal?: AbortSignal | undefined
  /** Chooses the tiles of the sample. */
  random?: () => number
}

export interface AuditReport {
  head: OpenedCheckpoint
  findings: Findings
  /** Size of the tree from which this audit went on; 0 when it read everything. */
  from: number
  leaves: number
  tiles: number
  records: number
}

/**
 * Audits the log of a server. What is wrong with the log is in the report; it throws `log_signature`,
 * `log_policy` or `log_malformed` when there is no head to audit, and what has nothing to do with the
 * log: `forbidden` for a token that may not read all entries, `unreachable`, `local_io`.
 */
export async function auditLog(
  connection: Connection,
  options: AuditOptions,
): Promise<AuditReport> {
  const { folder, policy, signal, full = false } = options
  const findings = createFindings()
  const head = openCheckpoint(await fetchCheckpoint(connection, signal), policy)
  await holding(findings, 'history', () => judgeHistory(connection, head, options))
  const goOn = options.sinceLast === true && hasAuditMemory(folder, head.origin)
  await using memory = await openAuditMemory(folder, head.origin, { goOn })
  const state = goOn ? memory.readState() : undefined
  const tree = state?.tree ?? createTreeBuilder()
  const from = tree.size
  const rebuild: RebuildParts = {
    connection,
    memory,
    findings,
    signal,
    full,
    random: options.random ?? Math.random,
    onProgress: options.onProgress,
  }
  const built: RebuildCount = { leaves: 0, tiles: 0 }
  const records: RecordCount = { records: 0, unmatched: [] }
  // A log that went back is compared as far as it goes; the history has told about it.
  const isWhole = head.size >= tree.size && (await rebuildTo(head, tree, rebuild, built))
  await compareSealedRuns(state?.comparedSize ?? 0, rebuild, records)
  if (state === undefined) await compareUnsealedRuns(rebuild, records)
  // What could not be read all the same may hold the leaves that seem to be missing.
  const isRead = tree.size === head.size
  const newest = isRead
    ? await lookAgain({ head, tree, records, built, isWhole }, rebuild, options)
    : head
  if (findings.count === 0) {
    await memory.keep({ tree, comparedSize: head.size })
    await writeAuditNote(folder, newest.origin, newest.note)
  }
  return { head: newest, findings, from, ...built, records: records.records }
}

/** Joins the head to what this user has seen, to the last audit, and to the head that was given. */
async function judgeHistory(
  connection: Connection,
  head: OpenedCheckpoint,
  { policy, folder, known, checkpoint, onNotice, signal }: AuditOptions,
): Promise<void> {
  const last = await readAuditNote(folder, head.origin)
  const keys = { ...trustLog(head.key), logs: policy.logs }
  const anchors: (Anchor | undefined)[] = [
    undefined,
    ...[last, checkpoint]
      .filter((note) => note !== undefined)
      .map((note) => ({ key: head.key, head: openCheckpoint(note, keys) })),
  ]
  for (const anchor of anchors) {
    // Evidence is kept in one place, whatever the head was compared with.
    const memory =
      anchor === undefined ? known : { ...rememberForNow(), saveEvidence: known.saveEvidence }
    await createHistory(connection, memory, { anchor, onNotice }).admit(head, { policy, signal })
  }
}

interface LookAgain {
  head: OpenedCheckpoint
  tree: TreeBuilder
  records: RecordCount
  built: RebuildCount
  /** The leaves make the signed tree: more can be added to it. */
  isWhole: boolean
}

/**
 * What was sealed while the audit ran has a record and no leaf below the head. A newer head has its
 * leaf; when no such head comes, the record is not in the log.
 */
async function lookAgain(
  { head, tree, records, built, isWhole }: LookAgain,
  rebuild: RebuildParts,
  options: AuditOptions,
): Promise<OpenedCheckpoint> {
  const { connection, findings, signal } = rebuild
  let newest = head
  let unmatched = records.unmatched
  for (let looked = 0; isWhole && unmatched.length > 0 && looked < SECOND_LOOKS; looked += 1) {
    if (looked > 0) await pause(SECOND_LOOK_MS, signal)
    const next = openCheckpoint(await fetchCheckpoint(connection, signal), options.policy)
    if (next.size <= newest.size) continue
    await holding(findings, 'history', () => judgeHistory(connection, next, options))
    if (!(await rebuildTo(next, tree, rebuild, built))) return next
    newest = next
    const left: typeof unmatched = []
    for (const record of unmatched) if (!(await compareRecord(record, rebuild))) left.push(record)
    unmatched = left
  }
  for (const { reference } of unmatched)
    findings.add(
      'records',
      new ArtifactError('log_record', `Cannot find the leaf of ${reference}: it was never logged`, {
        expected: `a leaf that seals it, under the head of ${newest.size} leaves`,
        found: 'none',
      }),
    )
  return newest
}
