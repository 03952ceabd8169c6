/**
 * Small files travel together: many are read, sent and sealed by one request, since for them the
 * asking costs more than the bytes.
 *
 * Sending a batch again is safe: every file keeps the upload id it got when it was read, and the
 * server answers for an id that it knows as it did the first time.
 */
import type { Artifact } from '../../schemas/artifact.ts'
import { BATCH_CONTENT_BYTES_MAX, BATCH_MAX } from '../../schemas/batch.ts'
import { cutIntoGroups } from '../../schemas/groups.ts'
import { parseProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { formatReference } from '../../schemas/reference.ts'
import { type CallReply, call, isPassing, PATIENT_TRIES } from '../api.ts'
import { createSlab, type Slab } from '../memory/slab.ts'
import { type ContentDigest, createContentHasher } from '../verify/digest.ts'
import type { Budget } from './budget.ts'
import type { Connection } from './connection.ts'
import { type GroupPlan, planGroups } from './group-plan.ts'
import type { Lanes } from './lanes.ts'
import { fillBuffer } from './read-part.ts'
import { pause, retryDelayMs } from './retry.ts'
import { checkDeclared, checkSealed } from './seal.ts'
import type { Semaphore } from './semaphore.ts'
import { openFileSource } from './source.ts'
import { newUploadId } from './upload-id.ts'
import type { UploadOptions, UploadResult } from './upload-job.ts'

/** Of request bodies, and their weight in bytes. The server takes 4 MiB; both sides hold it several times over, as bytes and as text. */
const USUAL: GroupPlan = { weightMax: 2 * 1024 ** 2, atOnce: 4 }
/** The words of an artifact besides its name, labels and content. */
const WORDS_BYTES = 512
/** What a batch holds on its way: the bytes, their Base 64, and the body made of it. */
const BODY_MEMORY = 3

/** One of several files, as it was seen before anything was read. */
export interface SmallFile {
  name: string
  path: string
  contentType: string | undefined
  sizeBytes: bigint
}

/** What came of one. */
export type SmallOutcome =
  | { kind: 'sealed'; result: UploadResult }
  | { kind: 'failed'; error: unknown }
  /** It is larger than it looked, or its id cannot be gone on with: it has to go by itself. */
  | { kind: 'alone' }

/** Where a batch goes, and with what. */
export interface SmallUpload {
  connection: Connection
  budget: Budget
  target: { task: string; run: number }
  options: UploadOptions
  signal: AbortSignal
  /** One place: the files of one batch are read after those of another, so that the first leaves early. */
  reading: Semaphore
  /** Where a request waits for its turn to go out. */
  lanes: Lanes
  /** Weight of a batch, in bytes of its body. */
  bodyBytesMax: number
}

interface ReadFile {
  id: string
  name: string
  bytes: Buffer
  digest: ContentDigest
  options: UploadOptions
}

/** Whether files of this size may go together. A policy is nothing that a batch can ask for. */
export function isSmallFile(sizeBytes: bigint, { policy }: UploadOptions): boolean {
  return policy === undefined && sizeBytes <= BigInt(BATCH_CONTENT_BYTES_MAX)
}

/** How files are sent together. */
export interface BatchPlan<T> extends GroupPlan {
  batches: Generator<T[]>
}

/** Cuts files into batches that one request can hold, in order. */
export function planBatches<T extends SmallFile>(
  files: readonly T[],
  { labels = {}, concurrency }: UploadOptions,
  isFar: boolean,
): BatchPlan<T> {
  const labelsBytes = jsonBytes(labels)
  const weigh = ({ name, sizeBytes }: T): number =>
    Math.ceil(Number(sizeBytes) / 3) * 4 + jsonBytes(name) + labelsBytes + WORDS_BYTES
  const totalBytes = files.reduce((sum, file) => sum + weigh(file), 0)
  const plan = planGroups(totalBytes, USUAL, { isFar, concurrency })
  const limits = { weightMax: plan.weightMax, countMax: BATCH_MAX }
  return { ...plan, batches: cutIntoGroups(files, weigh, limits) }
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value))
}

/**
 * Uploads a batch, and says of every file what came of it: never throws for one of them. Each is
 * hashed from the very bytes that are sent, and the record that comes back must say the same.
 */
export async function uploadSmall<T extends SmallFile>(
  job: SmallUpload,
  files: readonly T[],
): Promise<Map<T, SmallOutcome>> {
  const { budget, signal } = job
  const outcomes = new Map<T, SmallOutcome>()
  const held = Math.min(budget.memory.total, BODY_MEMORY * job.bodyBytesMax)
  try {
    await budget.memory.acquire(held, signal)
  } catch (error) {
    return new Map(files.map((file) => [file, { kind: 'failed', error }]))
  }
  try {
    await sendBatch(job, await readBatch(job, files, outcomes), outcomes)
  } finally {
    budget.memory.release(held)
  }
  return outcomes
}

/** What could be read; the others have their outcome already. */
async function readBatch<T extends SmallFile>(
  job: SmallUpload,
  files: readonly T[],
  outcomes: Map<T, SmallOutcome>,
): Promise<Map<T, ReadFile>> {
  const { reading, signal } = job
  const read = new Map<T, ReadFile>()
  try {
    await reading.acquire(1, signal)
  } catch (error) {
    for (const file of files) outcomes.set(file, failed(error))
    return read
  }
  const slab = createSlab(files.reduce((sum, { sizeBytes }) => sum + Number(sizeBytes), 0))
  for (const file of files) {
    const found = await readSmall(job, file, slab).catch(failed)
    if ('kind' in found) outcomes.set(file, found)
    else read.set(file, found)
  }
  reading.release(1)
  return read
}

function failed(error: unknown): SmallOutcome {
  return { kind: 'failed', error }
}

async function readSmall(
  { options, signal }: SmallUpload,
  { name, path, contentType }: SmallFile,
  slab: Slab,
): Promise<ReadFile | SmallOutcome> {
  await using source = await openFileSource(path, options.followLinks ?? false)
  if (source.sizeBytes > BigInt(BATCH_CONTENT_BYTES_MAX)) return { kind: 'alone' }
  const bytes = slab.take(Number(source.sizeBytes))
  const hasher = createContentHasher(Math.max(1, bytes.length))
  await fillBuffer(source, bytes, hasher, signal)
  const digest = hasher.finish()
  await source.checkEnd(digest.sizeBytes, signal)
  const own = { ...options, contentType: contentType ?? options.contentType }
  return { id: newUploadId(), name, bytes, digest, options: own }
}

/** Sends what was read until every file has an outcome. */
async function sendBatch<T>(
  job: SmallUpload,
  read: ReadonlyMap<T, ReadFile>,
  outcomes: Map<T, SmallOutcome>,
): Promise<void> {
  let waiting = [...read]
  for (let tried = 1; waiting.length > 0; tried++) {
    const reply = await request(
      job,
      waiting.map(([, file]) => file),
    ).catch(failed)
    const again: typeof waiting = []
    let passing: ArtifactError | undefined
    for (const [index, one] of waiting.entries()) {
      const outcome = 'kind' in reply ? reply : judge(job, one[1], reply.outcomes[index])
      const isOver = outcome.kind !== 'failed' || 'kind' in reply || !isPassing(outcome.error)
      if (isOver || tried === PATIENT_TRIES) outcomes.set(one[0], outcome)
      else {
        again.push(one)
        passing = outcome.error instanceof ArtifactError ? outcome.error : undefined
      }
    }
    waiting = again
    if (waiting.length === 0) return
    // An interruption shows in the next request.
    await pause(retryDelayMs(job.connection.timing, tried, passing), job.signal).catch(
      () => undefined,
    )
  }
}

async function request(
  { connection, lanes, target, signal }: SmallUpload,
  files: readonly ReadFile[],
): Promise<CallReply<'sealBatch'>> {
  const artifacts = files.map(({ id, name, bytes, digest, options }) => ({
    id,
    ...target,
    name,
    sha256: digest.sha256,
    contentType: options.contentType,
    labels: options.labels,
    content: bytes.toString('base64'),
  }))
  await lanes.acquire(1, signal)
  try {
    const body = { artifacts }
    return await call(connection, 'sealBatch', { body }, { signal, tries: PATIENT_TRIES })
  } finally {
    lanes.release(1)
  }
}

/** Problems of an id that an earlier, lost request used up; the name is free for another one. */
const ID_USED_UP = ['upload_conflict', 'upload_ended']

function judge(
  { target }: SmallUpload,
  file: ReadFile,
  outcome: CallReply<'sealBatch'>['outcomes'][number] | undefined,
): SmallOutcome {
  if (outcome?.outcome === 'sealed')
    try {
      const reference = formatReference({ ...target, name: file.name })
      return {
        kind: 'sealed',
        result: describe(file, checkSealed(outcome.artifact, reference, file.digest)),
      }
    } catch (error) {
      return failed(error)
    }
  if (outcome === undefined)
    return failed(
      new ArtifactError('bad_reply', `Cannot upload ${file.name}: the answer leaves it out`),
    )
  const error = parseProblem(outcome.problem)
  return ID_USED_UP.includes(error.code) ? { kind: 'alone' } : failed(error)
}

function describe({ id, bytes, options }: ReadFile, artifact: Artifact): UploadResult {
  const isNew = artifact.uploadId === id
  if (isNew) checkDeclared(artifact, options)
  return {
    outcome: isNew ? 'sealed' : 'already-sealed',
    artifact,
    resumed: false,
    sentBytes: isNew ? BigInt(bytes.length) : 0n,
    receipt: undefined,
  }
}
