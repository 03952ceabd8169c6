/**
 * One upload from its opening to its seal, or from wherever an earlier call has left it.
 */
import type { Artifact, Part } from '../../schemas/artifact.ts'
import { DEFAULT_PART_LIMITS } from '../../schemas/part-plan.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { formatReference } from '../../schemas/reference.ts'
import type { OpenedUpload, PartGrant, Upload, UploadWithParts } from '../../schemas/upload.ts'
import { call } from '../api.ts'
import { type ContentDigest, createContentHasher } from '../verify/digest.ts'
import { createBufferPool } from './budget.ts'
import { createGrantBatcher } from './grant-batcher.ts'
import type { JournalEntry } from './journal.ts'
import { fillBuffer } from './read-part.ts'
import { checkSealed, sealUpload } from './seal.ts'
import { bufferedPart, type SentContent, sendAll } from './send-all.ts'
import { type SendContext, sendPart } from './send-part.ts'
import { createServerReport } from './server-report.ts'
import type { FileSource } from './source.ts'
import type { UploadJob } from './upload-job.ts'

export interface UploadOutcome {
  artifact: Artifact
  /** Whether it was sealed by this very upload. */
  isNew: boolean
  resumed: boolean
  sentBytes: bigint
  /** The receipt that came with the seal, unjudged. */
  receipt: string | undefined
  /** What came with it to join its head to the newest one seen, unjudged. */
  consistency?: readonly string[] | undefined
  /** The part digests as they were sent; absent when somebody else has sent it. */
  parts: readonly Part[] | undefined
}

/** Up to this size a file is read before anything is said, and its grants come with the opening. */
const SMALL_BYTES = BigInt(DEFAULT_PART_LIMITS.preferredBytes)

/**
 * Uploads the source under the id of the entry, or goes on with it when there was an earlier try. Without
 * a run it goes into the one that the entry gets.
 */
export async function uploadOnce(
  job: UploadJob,
  run: number | undefined,
  entry: JournalEntry,
  wasTried: boolean,
): Promise<UploadOutcome> {
  job.meter.attempt = entry.attempt
  const earlier = wasTried ? await findEarlier(job, entry.uploadId) : undefined
  if (earlier !== undefined) {
    if (hasEnded(earlier.upload))
      throw new ArtifactError('upload_ended', `Cannot go on with upload ${entry.uploadId}`, {
        expected: 'open',
        found: earlier.upload.state,
      })
    return finish(job, earlier.upload, { held: earlier.parts, grants: [], resumed: true })
  }
  if (job.source.kind === 'file' && isSmall(job, job.source.sizeBytes))
    return uploadSmall(job, job.source, run, entry)
  const known = run === undefined ? undefined : await hashIfSealed(job, run)
  const opened = await open(job, run, entry, known?.sha256, [])
  if (opened.outcome === 'already-sealed') return settled(job, opened.artifact, known)
  return finish(job, opened.upload, { held: [], grants: opened.grants, resumed: false })
}

function isSmall({ budget }: UploadJob, sizeBytes: bigint): boolean {
  return sizeBytes <= SMALL_BYTES && sizeBytes * 2n <= BigInt(budget.memory.total)
}

async function findEarlier(job: UploadJob, id: string): Promise<UploadWithParts | undefined> {
  try {
    return await call(job.connection, 'getUpload', { params: { id } }, { signal: job.signal })
  } catch (error) {
    // The earlier call ended before the server heard of it.
    if (error instanceof ArtifactError && error.code === 'not_found') return undefined
    throw error
  }
}

function hasEnded(upload: Upload): boolean {
  return upload.state === 'failed' || upload.state === 'aborted' || upload.state === 'expired'
}

/** Three requests: open with the grant, the bytes, the seal. */
async function uploadSmall(
  job: UploadJob,
  source: FileSource,
  run: number | undefined,
  entry: JournalEntry,
): Promise<UploadOutcome> {
  const sizeBytes = Number(source.sizeBytes)
  using pool = createBufferPool(job.budget.memory, Math.max(1, sizeBytes), 1)
  const buffer = await pool.acquire(job.signal)
  const bytes = buffer.subarray(0, sizeBytes)
  const hasher = createContentHasher(Math.max(1, sizeBytes))
  await fillBuffer(source, bytes, hasher, job.signal)
  const digest = hasher.finish()
  await source.checkEnd(digest.sizeBytes, job.signal)
  checkExpected(job, digest)
  const opened = await open(job, run, entry, digest.sha256, digest.parts).catch(
    (error: unknown) => {
      // The server cuts it into smaller parts.
      if (!(error instanceof ArtifactError) || !NOT_ONE_PART.includes(error.code)) throw error
      return open(job, run, entry, digest.sha256, [])
    },
  )
  if (opened.outcome === 'already-sealed') return settled(job, opened.artifact, digest)
  const { upload, grants } = opened
  const isWhole = upload.state === 'open' && upload.partSizeBytes >= sizeBytes
  if (!isWhole) {
    source.rewind()
    // tidy: return - the buffer is given back first, since the parts need that memory
    return finish(job, upload, { held: [], grants, resumed: false })
  }
  job.meter.begin('sending', source.sizeBytes)
  using _report = createServerReport(job, upload)
  const context = createContext(job, upload, grants)
  for (const part of digest.parts) {
    await job.budget.requests.run(job.signal, (crowded) =>
      sendPart({ ...context, crowded }, bufferedPart(part, bytes)),
    )
    job.meter.settle(part.sizeBytes)
  }
  return await seal(job, upload, digest, { resumed: false, sentBytes: digest.sizeBytes })
}

async function seal(
  job: UploadJob,
  upload: Upload,
  digest: ContentDigest,
  sent: { resumed: boolean; sentBytes: bigint },
): Promise<UploadOutcome> {
  const withReceipt = job.options.receipt ?? true
  const sealed = await sealUpload(job.connection, upload, digest, {
    ...job,
    withReceipt,
  })
  const isNew = sealed.artifact.uploadId === upload.id
  return { ...sent, ...sealed, isNew, parts: isNew ? digest.parts : undefined }
}

const NOT_ONE_PART = ['size_mismatch', 'limit_exceeded']

/** Sends what the store does not hold, and seals. */
async function finish(
  job: UploadJob,
  upload: Upload,
  start: { held: readonly Part[]; grants: readonly PartGrant[]; resumed: boolean },
): Promise<UploadOutcome> {
  const { source, meter } = job
  meter.uploadId = upload.id
  let { held } = start
  for (let round = 1; ; round++) {
    const { digest, sentBytes } = await send(job, upload, held, start.grants)
    checkExpected(job, digest)
    try {
      return await seal(job, upload, digest, { resumed: start.resumed, sentBytes })
    } catch (error) {
      const isLost = error instanceof ArtifactError && error.code === 'part_missing'
      if (!isLost || round > 1 || source.kind !== 'file') throw error
      // The store lost a part that it had taken: what it does not hold is sent once more.
      const now = await findEarlier(job, upload.id)
      held = now?.parts ?? []
      source.rewind()
    }
  }
}

async function send(
  job: UploadJob,
  upload: Upload,
  held: readonly Part[],
  grants: readonly PartGrant[],
): Promise<SentContent> {
  // While it is verified, and after, the store has it all: the source only has to be the same.
  const isSending = upload.state === 'open'
  job.meter.begin(isSending ? 'sending' : 'hashing', job.source.sizeBytes)
  using _report = createServerReport(job, upload)
  const sent = await sendAll(createContext(job, upload, grants), job.budget, job.source, {
    partSizeBytes: upload.partSizeBytes,
    held: new Map(held.map((part) => [part.number, part.sha256])),
    isSending,
    hashThreads: job.options.hashThreads,
  })
  return sent
}

function createContext(job: UploadJob, upload: Upload, ready: readonly PartGrant[]): SendContext {
  const { connection, meter, signal, budget } = job
  const batchMax = 2 * Math.max(budget.requests.total, budget.farRequests.total)
  return {
    connection,
    uploadId: upload.id,
    grants: createGrantBatcher(connection, upload.id, { batchMax, ready, signal }),
    meter,
    signal,
    lastMove: { atMs: performance.now() },
  }
}

async function open(
  job: UploadJob,
  run: number | undefined,
  entry: JournalEntry,
  sha256: string | undefined,
  parts: Part[],
): Promise<OpenedUpload> {
  const { connection, options, signal, source, target } = job
  job.meter.uploadId = entry.uploadId
  const opened = await call(
    connection,
    'openUpload',
    {
      body: {
        id: entry.uploadId,
        task: target.task,
        run,
        requestId: run === undefined ? entry.requestId : undefined,
        name: target.name,
        sizeBytes: source.sizeBytes === undefined ? null : String(source.sizeBytes),
        sha256: sha256 ?? null,
        contentType: options.contentType,
        labels: options.labels,
        policy: options.policy,
        parts,
      },
    },
    { signal },
  )
  const found = opened.outcome === 'open' ? opened.upload : opened.artifact
  const expected = formatReference({ ...target, run: run ?? found.run })
  if (found.reference !== expected)
    throw new ArtifactError('bad_reply', `Cannot open upload: the answer is for another name`, {
      expected,
      found: found.reference,
    })
  job.meter.reference = expected
  return opened
}

/**
 * For a name that is sealed with content of the same size: the digest of the local file, so that
 * the server can say at once whether there is anything to do. Not every token may look; then
 * the upload goes its way, and the seal says it.
 */
async function hashIfSealed(job: UploadJob, run: number): Promise<ContentDigest | undefined> {
  const { connection, meter, options, signal, source, target } = job
  if (source.kind !== 'file') return undefined
  const sealed = await call(
    connection,
    'getArtifact',
    { params: { task: target.task, run, name: target.name } },
    { signal, tries: 1 },
  ).catch((error: unknown) => {
    if (error instanceof ArtifactError && error.code === 'interrupted') throw error
    return undefined
  })
  if (sealed === undefined || BigInt(sealed.sizeBytes) !== source.sizeBytes) return undefined
  meter.begin('hashing', source.sizeBytes)
  const { partSizeBytes } = sealed
  const { hashThreads } = options
  const plan = { partSizeBytes, held: new Map<number, string>(), isSending: false, hashThreads }
  const nothing = createGrantBatcher(connection, '', { batchMax: 1, ready: [], signal })
  const context = {
    connection,
    uploadId: '',
    grants: nothing,
    meter,
    signal,
    lastMove: { atMs: 0 },
  }
  const { digest } = await sendAll(context, job.budget, source, plan)
  source.rewind()
  return digest
}

/** Nothing to do, if the record says what was read here. */
function settled(
  job: UploadJob,
  artifact: Artifact,
  digest: ContentDigest | undefined,
): UploadOutcome {
  if (digest === undefined)
    throw new ArtifactError('bad_reply', 'Cannot open upload: the server cannot know the content')
  checkExpected(job, digest)
  checkSealed(artifact, formatReference({ ...job.target, run: artifact.run }), digest)
  const nothing = { receipt: undefined, parts: undefined }
  return { artifact, isNew: false, resumed: false, sentBytes: 0n, ...nothing }
}

/** Throws `digest_mismatch` unless it is the content that was asked for, if one was. */
export function checkExpected({ options, target }: UploadJob, digest: ContentDigest): void {
  const { expectSha256 } = options
  if (expectSha256 === undefined || expectSha256 === digest.sha256) return
  throw new ArtifactError(
    'digest_mismatch',
    `Cannot upload ${target.name}: its SHA-256 is not the expected one`,
    { expected: expectSha256, found: digest.sha256 },
  )
}
