/**
 * Uploading one artifact: open, send, seal; and on from where it stopped when it is called again.
 */
import { basename } from 'node:path'
import { findNameFault } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { formatReference } from '../../schemas/reference.ts'
import { call } from '../api.ts'
import { trustOf } from '../trust/trust.ts'
import { type Budget, createBudget } from './budget.ts'
import type { Connection } from './connection.ts'
import { interrupted } from './interruption.ts'
import { type JournalEntry, newEntry, openJournal } from './journal.ts'
import { createMeter } from './meter.ts'
import { completeClaim } from './record.ts'
import { checkDeclared } from './seal.ts'
import { openFileSource, openStreamSource, type Source } from './source.ts'
import type {
  UploadJob,
  UploadOptions,
  UploadResult,
  UploadSource,
  UploadTarget,
} from './upload-job.ts'
import { type UploadOutcome, uploadOnce } from './upload-once.ts'
import { isWhole, uploadWhole } from './upload-whole.ts'

/**
 * Uploads one file or stream, and returns once it is sealed.
 *
 * Waits for its receipt, unless told not to, and checks that the log says what was uploaded; what that
 * throws, it throws of an artifact that is sealed.
 *
 * Throws `already_sealed` when the name holds other content, `source_changed` when the file changes
 * meanwhile, `digest_mismatch` when it is not what was expected, `interrupted` when the signal fired,
 * and what the server, the network or this machine refuse. Nothing is sealed then, and the upload is
 * aborted unless the same call can go on with it.
 */
export async function upload(
  connection: Connection,
  source: UploadSource,
  target: UploadTarget,
  options: UploadOptions = {},
): Promise<UploadResult> {
  return uploadWithin(createBudget(options), connection, source, target, options)
}

/** {@link upload} within a budget that several uploads share. */
export async function uploadWithin(
  budget: Budget,
  connection: Connection,
  from: UploadSource,
  target: UploadTarget,
  options: UploadOptions,
): Promise<UploadResult> {
  const name = checkName(target.name ?? ('file' in from ? basename(from.file) : undefined))
  await using source = await openSource(from, options)
  const signal = options.signal ?? new AbortController().signal
  const slot =
    source.kind === 'file'
      ? openJournal(options.journal, {
          server: connection.url,
          task: target.task,
          run: target.run,
          name,
          path: await source.realPath(),
          sizeBytes: source.sizeBytes,
          mtimeNs: source.mtimeNs,
          contentType: options.contentType,
          labels: options.labels,
          policy: options.policy,
        })
      : openJournal(undefined, {})
  await using _held = await slot.hold()
  const meter = createMeter(`${target.task}/${target.run ?? '?'}/${name}`, options.onProgress)
  const job: UploadJob = {
    budget,
    connection,
    source,
    slot,
    meter,
    options,
    trust: options.trust ?? trustOf(connection),
    signal,
    target: { ...target, name },
  }
  const earlier = await slot.read()
  return await settle(job, await runJob(job, earlier))
}

async function runJob(job: UploadJob, earlier: JournalEntry | undefined): Promise<UploadOutcome> {
  let entry: JournalEntry =
    earlier === undefined ? newEntry() : { ...earlier, attempt: earlier.attempt + 1 }
  await job.slot.write(entry)
  try {
    const send = chooseWay(job)
    const outcome = await send(entry, earlier !== undefined).catch(async (error: unknown) => {
      if (earlier === undefined || !isStale(error)) throw error
      // The file is not what the earlier call sent, though size and time say so: once anew.
      await abort(job, entry.uploadId)
      entry = { ...newEntry(), requestId: entry.requestId, attempt: entry.attempt + 1 }
      await job.slot.write(entry)
      if (job.source.kind === 'file') job.source.rewind()
      return send(entry, false)
    })
    await job.slot.remove()
    return outcome
  } catch (error) {
    throw await giveUp(job, entry, error)
  }
}

type Send = (entry: JournalEntry, wasTried: boolean) => Promise<UploadOutcome>

/** Whole by one request if it is small; else step by step, the first of which may allot the run. */
function chooseWay(job: UploadJob): Send {
  const { source, target } = job
  if (isWhole(source, job)) return (entry) => uploadWhole(job, source, entry)
  return async (entry, wasTried) => {
    // An earlier try may have filled the run that its entry got: who knows it can look.
    const run = target.run ?? (wasTried ? await allotRun(job, entry.requestId) : undefined)
    if (run !== undefined) job.meter.reference = formatReference({ ...target, run })
    return uploadOnce(job, run, entry, wasTried)
  }
}

/** Checks that the log has what was uploaded. It is sealed by now, so nothing is taken back. */
async function settle(job: UploadJob, outcome: UploadOutcome): Promise<UploadResult> {
  const { artifact, isNew, resumed, sentBytes, consistency } = outcome
  const { connection, options, signal, trust } = job
  const result = { outcome: outcomeOf(isNew), artifact, resumed, sentBytes }
  if (isNew) checkDeclared(artifact, options)
  if (options.receipt === false) return { ...result, receipt: undefined }
  const claim =
    outcome.parts === undefined
      ? await completeClaim(connection, artifact, signal)
      : { record: artifact, parts: outcome.parts }
  const offered = { receipt: outcome.receipt, consistency, signal }
  const { receipt } = await trust.vouch(claim, offered)
  return { ...result, receipt }
}

const outcomeOf = (isNew: boolean): UploadResult['outcome'] => (isNew ? 'sealed' : 'already-sealed')

async function allotRun({ connection, target, signal }: UploadJob, requestId: string) {
  const { run } = await call(
    connection,
    'allotRun',
    { params: { task: target.task }, body: { requestId } },
    { signal },
  )
  return run
}

/** Whether an earlier upload cannot be gone on with, and a new one may succeed. */
function isStale(error: unknown): boolean {
  return (
    error instanceof ArtifactError &&
    ['part_conflict', 'upload_conflict', 'upload_ended'].includes(error.code)
  )
}

/** What a later call can mend, besides what passes by itself. */
const RESUMABLE = ['local_io', 'storage_full', 'unauthenticated', 'forbidden']

/** Leaves the upload open if the same call can go on with it, else aborts it. Returns the error. */
async function giveUp(job: UploadJob, entry: JournalEntry, error: unknown): Promise<unknown> {
  if (!(error instanceof ArtifactError)) return error
  const isKept =
    job.source.kind === 'file' &&
    job.options.journal !== undefined &&
    (error.row.retryable || RESUMABLE.includes(error.code))
  if (!isKept) {
    const isOpen = job.meter.uploadId !== undefined && error.code !== 'unreachable'
    if (isOpen) await abort(job, entry.uploadId)
    await job.slot.remove()
  }
  if (error.code !== 'interrupted') return error
  const outlook = isKept ? 'the same command goes on where it stopped' : 'nothing was sealed'
  return new ArtifactError(
    'interrupted',
    `Cannot finish the upload of ${job.target.name}: interrupted; ${outlook}`,
    { cause: error.cause },
  )
}

/** Best effort: what is not aborted expires. It outlives the signal that ended the upload. */
async function abort({ connection }: UploadJob, id: string): Promise<void> {
  await call(
    connection,
    'abortUpload',
    { params: { id } },
    { signal: AbortSignal.timeout(10_000), tries: 2 },
  ).catch(() => undefined)
}

async function openSource(from: UploadSource, options: UploadOptions): Promise<Source> {
  if (options.signal?.aborted === true) throw interrupted(options.signal.reason)
  if ('file' in from) return openFileSource(from.file, options.followLinks ?? false)
  return openStreamSource(from.stream, from.sizeBytes)
}

function checkName(name: string | undefined): string {
  const fault = name === undefined ? 'a stream needs one' : findNameFault(name)
  if (name !== undefined && fault === undefined) return name
  throw new ArtifactError(
    'usage',
    `Cannot upload: the name of the artifact is not valid: ${fault}`,
    {
      found: name,
    },
  )
}
