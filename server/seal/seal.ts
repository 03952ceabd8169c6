/**
 * Step 4: the seal, the one place where an upload becomes an artifact.
 *
 *     take the lease -> complete the object -> re-read and hash -> one transaction: record, state, event
 *
 * The request only starts it and waits a little; the state in Postgres says how it went. A crash
 * leaves the state `verifying` with a lease that runs out, and whoever takes the next lease (a
 * repeated request, the sweep, another server) calls the same {@link runSeal}: completing an object
 * again gives the same object, and the transaction succeeds once.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import pLimit, { type LimitFunction } from 'p-limit'
import type { Artifact } from '../../schemas/artifact.ts'
import { countParts } from '../../schemas/part-plan.ts'
import { formatProblem, parseProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { SealUpload } from '../../schemas/upload.ts'
import { ended, type Intake, openSession } from '../intake/session.ts'
import type { Sequencer } from '../log/sequencer.ts'
import type { NewArtifact } from '../records/artifacts.ts'
import type { Sql, Transaction } from '../records/database.ts'
import { appendUploadEvent } from '../records/events.ts'
import {
  endFailed,
  keepVerifying,
  releaseVerifying,
  reopenUpload,
  takeVerifying,
} from '../records/upload-endings.ts'
import { formatUpload, type SettledRecord, type UploadRecord } from '../records/upload-row.ts'
import { findBoundParts, findUpload } from '../records/uploads.ts'
import { sessionEnded } from '../stores/part-list.ts'
import type { Blob } from '../stores/store.ts'
import { checkClaim } from './claim.ts'
import { type Claim, checkStored, storedBytes } from './reread.ts'

/** A verifier that says nothing for this long has lost its right. */
export const LEASE_SECONDS = 30
/** Objects that one process stores at the same time, when their bytes came with the claim: those share an fsync, or an object of the store. */
const SMALL_CONCURRENCY = 256
/** How often progress is written while the bytes are read. */
const PROGRESS_MS = 1000
/** How often a server looks whether another one is done. */
const POLL_MS = 200

/** One upload that this process verifies. */
interface Verification {
  upload: UploadRecord
  claim: Claim
  /** All of it, when it came with the claim: then it is stored first. */
  bytes?: Uint8Array | undefined
  /** Called once the bytes are verified: the seal waits for those that shall go with it. */
  meet?: (() => Promise<void>) | undefined
}

/** How a verification ended: for good, or for now. */
type Result =
  | { outcome: 'sealed'; artifact: Artifact; upload: SettledRecord }
  | { outcome: 'failed'; error: ArtifactError }
  | { outcome: 'set-back'; error: unknown }

export interface SealerOptions {
  /** Objects that one process re-reads at the same time. */
  concurrency: number
  /** How long a seal request waits for the outcome before it answers "verifying", in ms. */
  patienceMs: number
  /** Called once for every upload that this process brought to an end. */
  onOutcome: (outcome: 'sealed' | 'failed', upload: UploadRecord) => void
  /** Called when a seal stopped for a passing reason and will be taken up again. */
  onSetback: (upload: UploadRecord, error: unknown) => void
  /** Called when stored bytes differed as this says, and agreed when they were read once more. */
  onMisread: (upload: UploadRecord, error: ArtifactError) => void
}

export interface Sealer extends AsyncDisposable {
  /**
   * Starts the seal of an upload or joins it, and returns the upload as it is after a short wait.
   * Throws the problem of an upload that failed, and `upload_ended`, `upload_conflict`, or what
   * {@link checkClaim} finds. Repeat it while the state is `verifying`.
   */
  requestSeal(upload: UploadRecord, request: SealUpload): Promise<SettledRecord>
  /** Who this process is when it holds the right to verify an upload. */
  readonly holder: string
  /**
   * Stores and seals an upload for which this process holds that right and whose bytes it has, and
   * returns the record. Throws why not: the upload has failed then, or waits for the next try.
   * `meet` is called once the bytes are verified, and waited for before the seal.
   */
  sealWhole(
    upload: UploadRecord,
    claim: Claim,
    bytes: Uint8Array,
    meet?: () => Promise<void>,
  ): Promise<Artifact>
  /** Goes on with an upload whose verifier is gone. */
  recover(upload: UploadRecord): Promise<void>
}

/** Makes the sealer of this process. Disposing it stops what runs and gives the leases back. */
export function createSealer(intake: Intake, sequencer: Sequencer, options: SealerOptions): Sealer {
  const holder = randomUUID()
  const limit = pLimit(options.concurrency)
  const smallLimit = pLimit(SMALL_CONCURRENCY)
  const stop = new AbortController()
  const running = new Map<string, Promise<Result>>()

  const setBack = async (upload: UploadRecord, error: unknown): Promise<Result> => {
    options.onSetback(upload, error)
    // A part that never came can still be sent; anything else is for the next try.
    const giveBack =
      error instanceof ArtifactError && error.code === 'part_missing'
        ? reopenUpload
        : releaseVerifying
    await giveBack(intake.sql, upload.id, holder).catch(() => undefined)
    return { outcome: 'set-back', error }
  }

  /** Runs a seal for which this process holds the lease; never rejects. */
  const start = (verification: Verification): Promise<Result> => {
    const { upload, bytes } = verification
    const turn = bytes === undefined ? limit : smallLimit
    const onMisread = (error: ArtifactError) => options.onMisread(upload, error)
    const terms = { holder, turn, signal: stop.signal, onMisread }
    const run = runSeal(intake, sequencer, verification, terms)
      .then((result) => {
        options.onOutcome(result.outcome, upload)
        return result
      })
      .catch((error: unknown) => setBack(upload, error))
      .finally(() => running.delete(upload.id))
    running.set(upload.id, run)
    return run
  }

  const takeLease = async (upload: UploadRecord, claim: { sizeBytes: bigint; sha256: string }) => {
    const now = intake.clock()
    const lease = { holder, ...leaseFrom(now) }
    // Of a single part: sealed before anybody has read that it is verified.
    if (claim.sizeBytes <= upload.partSizeBytes)
      return takeVerifying(intake.sql, upload.id, claim, lease)
    return intake.outbox.change(async (tx) => {
      const taken = await takeVerifying(tx, upload.id, claim, lease)
      if (taken !== undefined) await appendUploadEvent(tx, formatUpload(taken), now)
      return taken
    })
  }

  return {
    async requestSeal(upload, request) {
      const claim: Claim = { ...request, sizeBytes: BigInt(request.sizeBytes) }
      checkSealable(upload, claim)
      if (upload.state === 'sealed') return upload
      if (!running.has(upload.id)) {
        checkClaim(upload, claim, await findBoundParts(intake.sql, upload.id))
        const taken = await takeLease(upload, claim)
        if (taken !== undefined) void start({ upload: taken, claim })
      }
      const run = running.get(upload.id)
      const result = run === undefined ? undefined : await patiently(run, options.patienceMs)
      if (result?.outcome === 'set-back') throw result.error
      const patienceMs = run === undefined ? options.patienceMs : 0
      const after =
        result?.outcome === 'sealed' && result.artifact.uploadId === upload.id
          ? result.upload
          : await findOutcome(intake.sql, upload, patienceMs)
      checkSealable(after, claim)
      return after
    },

    holder,

    async sealWhole(upload, claim, bytes, meet) {
      const result = await (running.get(upload.id) ?? start({ upload, claim, bytes, meet }))
      if (result.outcome === 'sealed') return result.artifact
      throw result.error
    },

    async recover(upload) {
      if (upload.claim === undefined || running.has(upload.id)) return
      const taken = await takeLease(upload, upload.claim)
      if (taken === undefined) return
      // More parts can be bound than the claim has: a stream of unknown size may have been cut.
      const count = countParts(upload.claim.sizeBytes, upload.partSizeBytes)
      const parts = (await findBoundParts(intake.sql, upload.id)).slice(0, count)
      await start({ upload: taken, claim: { ...upload.claim, parts } })
    },

    async [Symbol.asyncDispose]() {
      stop.abort(new ArtifactError('overloaded', 'Cannot go on: the server shuts down'))
      await Promise.all(running.values())
    },
  }
}

/** Throws unless this claim can be, or has been, sealed from this upload. */
function checkSealable(upload: UploadRecord, claim: Claim): void {
  if (upload.state === 'failed' && upload.problem !== undefined) throw parseProblem(upload.problem)
  if (upload.state === 'aborted' || upload.state === 'expired') throw ended(upload)
  const known = upload.claim
  if (upload.state === 'open' || known === undefined) return
  if (known.sha256 !== claim.sha256 || known.sizeBytes !== claim.sizeBytes)
    throw new ArtifactError(
      'upload_conflict',
      `Cannot seal upload ${upload.id}: another claim runs`,
      {
        expected: `sha256 ${known.sha256}, ${known.sizeBytes} bytes`,
        found: `sha256 ${claim.sha256}, ${claim.sizeBytes} bytes`,
      },
    )
}

/** What a verification runs under. */
interface Terms {
  holder: string
  turn: LimitFunction
  signal: AbortSignal
  onMisread: (error: ArtifactError) => void
}

async function runSeal(
  intake: Intake,
  sequencer: Sequencer,
  verification: Verification,
  terms: Terms,
): Promise<Exclude<Result, { outcome: 'set-back' }>> {
  const { upload, claim, meet } = verification
  const { holder, turn, signal } = terms
  try {
    // The seal itself is not part of the turn: those who wait for it go together.
    const blob = await turn(() => verifyBlob(intake, verification, terms))
    await meet?.()
    return await publish(intake, sequencer, upload, claim, blob, holder)
  } catch (error) {
    if (!(error instanceof ArtifactError) || error.row.retryable || signal.aborted) throw error
    if (error.code === 'part_missing' || error.code === 'storage_full') throw error
    await intake.outbox.change((tx) => giveUp(intake, tx, upload, holder, error))
    return { outcome: 'failed', error }
  }
}

/** The object, complete and as it was claimed. */
async function verifyBlob(intake: Intake, verification: Verification, terms: Terms): Promise<Blob> {
  terms.signal.throwIfAborted()
  const { upload, claim } = verification
  const blob = await storeBlob(intake, verification)
  // From here on no grant can write the object: what is read now is what will be served.
  checkBlobSize(blob, claim)
  if (upload.policy === 'reread') await reread(intake, upload, claim, blob, terms)
  return blob
}

async function storeBlob(intake: Intake, { upload, claim, bytes }: Verification): Promise<Blob> {
  if (bytes === undefined)
    return intake.store.complete(await openSession(intake, upload), claim.parts)
  const { blobKey: key, partSizeBytes, contentType } = upload
  const plan = { key, sizeBytes: claim.sizeBytes, partSizeBytes, contentType }
  const blob = await intake.store.put(plan, bytes)
  if (upload.policy === 'reread') return blob
  // What is not read back is looked at: what the store has counts, not what it said.
  const found = await intake.store.stat(key)
  if (found === undefined) throw sessionEnded(key)
  return found
}

function checkBlobSize(blob: Blob, claim: Claim): void {
  if (blob.sizeBytes === claim.sizeBytes) return
  throw new ArtifactError('size_mismatch', 'Cannot seal: the stored object has another size', {
    expected: `${claim.sizeBytes} bytes`,
    found: `${blob.sizeBytes} bytes`,
  })
}

async function reread(
  intake: Intake,
  upload: UploadRecord,
  claim: Claim,
  blob: Blob,
  { holder, signal, onMisread }: Terms,
): Promise<void> {
  let reportedAt = intake.clock().getTime()
  const options = { expectedBytes: claim.sizeBytes, signal }
  const stored = storedBytes(intake.store, upload.blobKey, blob.tag, options)
  const onProgress = async (verifiedBytes: bigint) => {
    const now = intake.clock()
    if (now.getTime() - reportedAt < PROGRESS_MS) return
    reportedAt = now.getTime()
    const kept = await intake.outbox.change(async (tx) => {
      const after = await keepVerifying(tx, upload.id, verifiedBytes, { holder, ...leaseFrom(now) })
      if (after !== undefined) await appendUploadEvent(tx, formatUpload(after), now)
      return after
    })
    if (kept === undefined) throw lostLease(upload)
  }
  await checkStored(stored, claim, { onProgress, onMisread })
}

/** The commit point: the record, its leaf, the state and the news of it, or nothing. */
async function publish(
  intake: Intake,
  sequencer: Sequencer,
  upload: UploadRecord,
  claim: Claim,
  blob: Blob,
  holder: string,
): Promise<Result & { outcome: 'sealed' }> {
  const record = recordOf(upload, claim, intake.store.kind, blob)
  const artifact = await sequencer.seal({ artifact: record, holder })
  return { outcome: 'sealed', artifact, upload: settledRecord(upload, claim, artifact) }
}

/** The upload as the transaction that sealed it as a new artifact left it. */
function settledRecord(upload: UploadRecord, claim: Claim, artifact: Artifact): SettledRecord {
  const { sha256, sizeBytes } = claim
  return {
    ...upload,
    artifact,
    state: 'sealed',
    claim: { sha256, sizeBytes },
    verifiedBytes: sizeBytes,
    movedAt: new Date(artifact.sealedAt),
  }
}

/** What a verified upload becomes. */
export function recordOf(
  upload: UploadRecord,
  claim: Claim,
  store: string,
  blob: Blob,
): NewArtifact {
  return {
    task: upload.task,
    run: upload.run,
    name: upload.name,
    sha256: claim.sha256,
    sizeBytes: claim.sizeBytes,
    partSizeBytes: upload.partSizeBytes,
    parts: claim.parts,
    contentType: upload.contentType,
    labels: upload.labels,
    policy: upload.policy,
    store,
    blobKey: upload.blobKey,
    blobTag: blob.tag,
    uploadId: upload.id,
    openedAt: upload.openedAt,
    tokenId: upload.tokenId,
    tokenName: upload.tokenName,
  }
}

/** The bytes are not what was claimed: that is final, and on record. */
async function giveUp(
  intake: Intake,
  tx: Transaction,
  upload: UploadRecord,
  holder: string,
  error: ArtifactError,
): Promise<void> {
  const now = intake.clock()
  const after = await endFailed(tx, upload.id, holder, now, formatProblem(error))
  if (after === undefined) throw lostLease(upload)
  await appendUploadEvent(tx, formatUpload(after), now)
}

function lostLease(upload: UploadRecord): ArtifactError {
  return new ArtifactError('overloaded', `Cannot go on sealing ${upload.id}: another server does`)
}

function leaseFrom(at: Date): { at: Date; until: Date } {
  return { at, until: new Date(at.getTime() + LEASE_SECONDS * 1000) }
}

async function patiently(run: Promise<Result>, patienceMs: number): Promise<Result | undefined> {
  const timer = new AbortController()
  const pause = delay(patienceMs, undefined, { signal: timer.signal }).catch(() => undefined)
  const result = await Promise.race([run, pause])
  timer.abort()
  return result
}

/** The upload as it is now, or, while another server verifies it, once it has ended or `patienceMs` are over. */
async function findOutcome(
  sql: Sql,
  upload: UploadRecord,
  patienceMs: number,
): Promise<UploadRecord> {
  const after = await findUpload(sql, upload.id)
  if (after === undefined) throw ended(upload)
  if (after.state !== 'verifying' || patienceMs <= 0) return after
  await delay(POLL_MS)
  return findOutcome(sql, upload, patienceMs - POLL_MS)
}
