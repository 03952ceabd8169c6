/**
 * Small artifacts travel together: one answer brings the receipts and bytes of many, each is verified
 * in memory as any other, and what passed is written at once.
 *
 * This is the fast way and never the last word: whatever is missing, refused or does not agree is
 * left to the way of a single artifact, which asks again and says what is wrong.
 */
import type { Artifact } from '../../schemas/artifact.ts'
import { BATCH_CONTENT_BYTES_MAX, BATCH_MAX } from '../../schemas/batch.ts'
import { CONTENTS_BYTES_MAX } from '../../schemas/contents.ts'
import { cutIntoGroups } from '../../schemas/groups.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { type CallReply, call, PATIENT_TRIES } from '../api.ts'
import type { DraftFolder } from '../disk/draft-folder.ts'
import { createBase64Slab, type Slab, takeBase64 } from '../memory/slab.ts'
import type { Trust } from '../trust/trust.ts'
import { createContentHasher } from '../verify/digest.ts'
import { verifyContent } from '../verify/verifier.ts'
import { acceptExisting } from './accept-existing.ts'
import type { Budget } from './budget.ts'
import type { Connection } from './connection.ts'
import { openContent } from './content.ts'
import type { VouchedClaim } from './get.ts'
import type { GetResult } from './get-options.ts'
import { type GroupPlan, planGroups } from './group-plan.ts'
import { completeClaim } from './record.ts'

/** Of answers with contents, and their bytes; one may hold no more. */
const USUAL: GroupPlan = { weightMax: CONTENTS_BYTES_MAX, atOnce: 3 }
/** What a batch holds on its way: the bytes, their Base 64, and the answer around it. */
const BYTES_MEMORY = 4

/** A record of the listing, and the path where it shall be. */
export interface SmallTarget {
  record: Artifact
  path: string
}

/** How batches of one run are got. */
export interface SmallGet {
  connection: Connection
  budget: Budget
  run: { task: string; run: number }
  drafts: DraftFolder
  trust: Trust
  force: boolean
  verify: boolean | undefined
  signal: AbortSignal
  /** Bytes of a batch at most. */
  bytesMax: number
}

type Item = CallReply<'getContents'>['items'][number]

/** What an answer says of one, with what it says of all. */
interface Answered extends Pick<CallReply<'getContents'>, 'consistency'> {
  item: Item | undefined
}

/** Verified, and not yet written. */
interface Ready {
  target: SmallTarget
  claim: VouchedClaim
  bytes: Uint8Array
  result: GetResult
}

/** Whether an artifact may come together with others. */
export function isSmallArtifact({ sizeBytes }: Artifact): boolean {
  return BigInt(sizeBytes) <= BigInt(BATCH_CONTENT_BYTES_MAX)
}

/** How artifacts come together. */
export interface AnswerPlan<T> extends GroupPlan {
  batches: Generator<T[]>
}

/** Cuts what is wanted into batches whose bytes one answer can hold, in order. */
export function planAnswers<T extends { record: Artifact }>(
  wanted: readonly T[],
  network: { isFar: boolean; concurrency?: number | undefined },
): AnswerPlan<T> {
  const weigh = ({ record }: T) => Number(record.sizeBytes)
  const totalBytes = wanted.reduce((sum, one) => sum + weigh(one), 0)
  const plan = planGroups(totalBytes, USUAL, network)
  const limits = { weightMax: plan.weightMax, countMax: BATCH_MAX }
  return { ...plan, batches: cutIntoGroups(wanted, weigh, limits) }
}

/** Gets a batch. What is not in the result has to be got by itself; never throws for one of them. */
export async function getSmall(
  job: SmallGet,
  targets: readonly SmallTarget[],
): Promise<Map<SmallTarget, GetResult>> {
  const { budget, connection, run, drafts, force, signal } = job
  const results = new Map<SmallTarget, GetResult>()
  const held = Math.min(budget.memory.total, BYTES_MEMORY * job.bytesMax)
  const isHeld = await budget.memory.acquire(held, signal).then(isDone, isOver)
  if (!isHeld) return results
  try {
    const names = targets.map(({ record }) => record.name)
    const body = { names, since: await job.trust.findSeen(signal) }
    const options = { signal, tries: PATIENT_TRIES }
    const reply = await call(connection, 'getContents', { params: run, body }, options)
    const { items, consistency } = reply
    const slab = createBase64Slab(items.map(contentOf))
    const judged = await Promise.all(
      targets.map((target, index) =>
        judge(job, target, { item: items[index], consistency }, slab).catch(leaveAlone),
      ),
    )
    const ready = judged.filter((one) => one !== undefined)
    const failures = await drafts.publish(
      ready.map(({ target, bytes }) => ({ target: target.path, bytes })),
      { force },
    )
    for (const [index, { target, claim, result }] of ready.entries()) {
      const failure = failures[index]
      const settled =
        failure === undefined
          ? result
          : await takeExisting(target, claim, failure.error, signal).catch(leaveAlone)
      if (settled !== undefined) results.set(target, settled)
    }
  } catch (error) {
    leaveAlone(error)
  } finally {
    budget.memory.release(held)
  }
  return results
}

const contentOf = (item: Item) => (item.outcome === 'content' ? item.content : '')
const isDone = () => true
const isOver = () => false

/** A failure that is told once more, and in full, on the way of a single artifact. */
function leaveAlone(error: unknown): undefined {
  if (!(error instanceof ArtifactError)) throw error
  return undefined
}

/** What came of one, verified against its record and the log; `undefined` when nothing came. */
async function judge(
  job: SmallGet,
  target: SmallTarget,
  { item, consistency }: Answered,
  slab: Slab,
): Promise<Ready | undefined> {
  if (item === undefined || item.outcome === 'refused') return undefined
  const { connection, trust, verify, signal } = job
  const { record, path } = target
  const known = await completeClaim(connection, record, signal)
  const receipt = item.receipt ?? undefined
  const { checks } = await trust.vouch(known, { demand: verify, receipt, consistency, signal })
  const claim = { ...known, checks }
  const bytes =
    item.outcome === 'content'
      ? takeBase64(slab, item.content)
      : await fetchWhole(job, record, item.grant)
  const hasher = createContentHasher(Math.max(1, record.partSizeBytes))
  hasher.update(bytes)
  const made = verifyContent(claim, hasher.finish())
  const receivedBytes = BigInt(bytes.length)
  const result = { artifact: record, path, checks: [...made, ...checks], receivedBytes }
  return { target, claim, bytes, result: { ...result, resumedBytes: 0n } }
}

async function fetchWhole(
  { connection, budget, signal }: SmallGet,
  record: Artifact,
  grant: (Item & { outcome: 'granted' })['grant'],
): Promise<Uint8Array> {
  const sizeBytes = Number(record.sizeBytes)
  if (sizeBytes === 0) return new Uint8Array()
  const chunks: Uint8Array[] = []
  await budget.requests.acquire(1, signal)
  try {
    await openContent(connection, record, { grant }).read(
      { offset: 0n, sizeBytes },
      (chunk) => void chunks.push(Buffer.from(chunk)),
      signal,
    )
  } finally {
    budget.requests.release(1)
  }
  return Buffer.concat(chunks)
}

async function takeExisting(
  { path }: SmallTarget,
  claim: VouchedClaim,
  failure: unknown,
  signal: AbortSignal,
): Promise<GetResult> {
  if (!(failure instanceof ArtifactError) || failure.code !== 'target_exists') throw failure
  return acceptExisting(path, claim, signal, failure)
}
