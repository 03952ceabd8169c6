/**
 * One small file in one request: it allots the run, brings the bytes, seals them, and its answer has the
 * receipt. Over a far network every question that is not asked is a good part of the time.
 *
 * Sending it again is safe, and so nothing is looked up beforehand: the ids in the journal's entry get the
 * same run and the same upload, whose answer is the one that was lost.
 */
import { parseProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { formatReference } from '../../schemas/reference.ts'
import { type CallReply, call, isPassing, PATIENT_TRIES } from '../api.ts'
import { type ContentDigest, createContentHasher } from '../verify/digest.ts'
import type { JournalEntry } from './journal.ts'
import { fillBuffer } from './read-part.ts'
import { pause, retryDelayMs } from './retry.ts'
import { checkSealed } from './seal.ts'
import type { FileSource, Source } from './source.ts'
import type { UploadJob } from './upload-job.ts'
import { checkExpected, type UploadOutcome } from './upload-once.ts'
import { isSmallFile } from './upload-small.ts'

/** Whether the source is a file that one request can hold. */
export function isWhole(source: Source, { options }: UploadJob): source is FileSource {
  return source.kind === 'file' && isSmallFile(source.sizeBytes, options)
}

/** Uploads the file under the ids of the entry, into the run of the target or the one that the entry gets. */
export async function uploadWhole(
  job: UploadJob,
  source: FileSource,
  entry: JournalEntry,
): Promise<UploadOutcome> {
  const { meter, signal, target, budget } = job
  meter.attempt = entry.attempt
  const bytes = Buffer.allocUnsafeSlow(Number(source.sizeBytes))
  const hasher = createContentHasher(Math.max(1, bytes.length))
  await fillBuffer(source, bytes, hasher, signal)
  const digest = hasher.finish()
  await source.checkEnd(digest.sizeBytes, signal)
  checkExpected(job, digest)
  meter.begin('sending', source.sizeBytes)
  const { artifact, receipt, consistency } = await budget.requests.run(signal, () =>
    sendWhole(job, entry, bytes, digest),
  )
  const { task, run = artifact.run, name } = target
  checkSealed(artifact, formatReference({ task, run, name }), digest)
  meter.reference = artifact.reference
  meter.skip(bytes.length)
  meter.begin('verifying', source.sizeBytes)
  meter.skip(bytes.length)
  const isNew = artifact.uploadId === entry.uploadId
  return {
    artifact,
    isNew,
    resumed: false,
    sentBytes: isNew ? digest.sizeBytes : 0n,
    receipt,
    consistency,
    parts: isNew ? digest.parts : undefined,
  }
}

type Sealed = CallReply<'sealBatch'>['outcomes'][number] & { outcome: 'sealed' }

/** What was sealed, with what proves it. Throws why it was refused. */
async function sendWhole(
  { connection, options, signal, target, trust }: UploadJob,
  { requestId, uploadId: id }: JournalEntry,
  bytes: Buffer,
  { sha256 }: ContentDigest,
): Promise<Omit<Sealed, 'outcome'> & Pick<CallReply<'sealBatch'>, 'consistency'>> {
  const { contentType, labels, receipt: receipts = true } = options
  const { task, run, name } = target
  const content = bytes.toString('base64')
  const body = {
    artifacts: [{ id, task, run, name, sha256, contentType, labels, content }],
    requestId: run === undefined ? requestId : undefined,
    receipts,
    since: receipts ? await trust.findSeen(signal) : undefined,
  }
  for (let tried = 1; ; tried++) {
    const { outcomes, consistency } = await call(
      connection,
      'sealBatch',
      { body },
      { signal, tries: PATIENT_TRIES },
    )
    const [outcome] = outcomes
    if (outcome?.outcome === 'sealed')
      return { artifact: outcome.artifact, receipt: outcome.receipt, consistency }
    if (outcome === undefined)
      throw new ArtifactError('bad_reply', `Cannot upload ${name}: the answer leaves it out`)
    const error = parseProblem(outcome.problem)
    if (!isPassing(error) || tried === PATIENT_TRIES) throw error
    await pause(retryDelayMs(connection.timing, tried, error), signal)
  }
}
