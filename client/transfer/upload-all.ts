/**
 * Uploading several files as one run.
 */
import { lstat, realpath } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { DEFAULT_PART_LIMITS } from '../../schemas/part-plan.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { call } from '../api.ts'
import { createBudget, DEFAULT_CONCURRENCY } from './budget.ts'
import type { Connection } from './connection.ts'
import { interrupted } from './interruption.ts'
import { newEntry, openJournal } from './journal.ts'
import { forEachLimited } from './limited.ts'
import {
  createFailureLog,
  createTotalMeter,
  type FailedFile,
  type FailureLog,
  filesAtOnce,
  type TotalMeter,
} from './many.ts'
import { createSemaphore } from './semaphore.ts'
import { uploadWithin } from './upload.ts'
import type { UploadOptions, UploadResult } from './upload-job.ts'
import { isSmallFile, planBatches, type SmallFile, uploadSmall } from './upload-small.ts'

export type { FailedFile } from './many.ts'

/** One file of several. */
export interface UploadEntry {
  file: string
  /** Of the artifact, for example the path relative to the folder, with `/`. */
  name: string
  /** Media type of this one [that of the options]. */
  contentType?: string | undefined
}

export interface UploadAllResult {
  task: string
  run: number
  /** In no order; empty when each was told. */
  done: UploadResult[]
  /** Each by its name; those that an interruption left undone too. */
  failed: FailedFile[]
}

/** As for one file. Those up to 64 KiB come without a receipt: whoever gets them asks for it. */
export interface UploadAllOptions extends Omit<UploadOptions, 'expectSha256'> {
  /**
   * Hears of every file that is sealed, and is waited for. Then the result does not keep them, and `done` stays empty: of
   * a million files nobody needs a million records in memory.
   */
  onSealed?: ((result: UploadResult) => void | Promise<void>) | undefined
}

/** Smaller files are sent again rather than resumed: a journal entry costs more than they do. */
const JOURNAL_FROM_BYTES = BigInt(DEFAULT_PART_LIMITS.preferredBytes)

/**
 * Uploads several files as one run, each its own artifact, with one total progress. What fails is
 * named in the result; it throws only when nothing could begin. With a journal, the same call with
 * the same unchanged files goes on with the same run until all of them are sealed.
 */
export async function uploadAll(
  connection: Connection,
  entries: readonly UploadEntry[],
  target: { task: string; run?: number | undefined },
  options: UploadAllOptions = {},
): Promise<UploadAllResult> {
  if (entries.length === 0) throw new ArtifactError('usage', 'Cannot upload: there are no files')
  checkDistinct(entries)
  const files = await lookAt(entries, options)
  const slot = openJournal(target.run === undefined ? options.journal : undefined, {
    server: connection.url,
    task: target.task,
    files,
    contentType: options.contentType,
    labels: options.labels,
    policy: options.policy,
  })
  const run = target.run ?? (await allotRun(connection, target.task, slot, options.signal))
  const log = createFailureLog()
  const done: UploadResult[] = []
  const total = createTotalMeter('sending', `${target.task}/${run}`, options.onProgress)
  total.expect(
    files.length,
    files.reduce((sum, file) => sum + file.sizeBytes, 0n),
  )
  const keep = options.onSealed ?? ((result: UploadResult) => void done.push(result))
  await sendFiles(connection, files, { task: target.task, run }, options, { log, keep, total })
  if (log.failed.length === 0) await slot.remove()
  return { task: target.task, run, done, failed: log.failed }
}

interface SeenFile extends SmallFile {
  mtimeNs: bigint
}

/** Where the outcomes of files go. */
interface Ledger {
  log: FailureLog
  keep: (result: UploadResult) => void | Promise<void>
  total: TotalMeter
}

/** Sends the small files in batches and the others side by side, within one budget. */
async function sendFiles(
  connection: Connection,
  files: readonly SeenFile[],
  target: { task: string; run: number },
  options: UploadAllOptions,
  { log, keep, total }: Ledger,
): Promise<void> {
  const budget = createBudget(options)
  const reading = createSemaphore(1)
  const signal = options.signal ?? new AbortController().signal
  const fail = ({ name, sizeBytes }: SeenFile, error: unknown) => {
    log.add(name, error)
    total.end(name, sizeBytes, false)
  }
  const succeed = async ({ name, sizeBytes }: SeenFile, result: UploadResult) => {
    await keep(result)
    total.end(name, sizeBytes, true)
  }
  const sendAlone = async (file: SeenFile) => {
    try {
      if (log.fatal !== undefined) throw log.fatal
      const { name, path, sizeBytes } = file
      const result = await uploadWithin(
        budget,
        connection,
        { file: path },
        { ...target, name },
        {
          ...options,
          contentType: file.contentType ?? options.contentType,
          journal: sizeBytes > JOURNAL_FROM_BYTES ? options.journal : undefined,
          onProgress: total.watchFile(name),
        },
      )
      await succeed(file, result)
    } catch (error) {
      fail(file, error)
    }
  }
  const isFar = connection.isFar()
  const lanes = isFar ? budget.farRequests : budget.requests
  const small = files.filter(({ sizeBytes }) => isSmallFile(sizeBytes, options))
  const { batches, atOnce, weightMax: bodyBytesMax } = planBatches(small, options, isFar)
  const sendTogether = async (batch: SeenFile[]) => {
    const { fatal } = log
    if (fatal !== undefined) return batch.forEach((file) => void fail(file, fatal))
    const job = { connection, budget, target, options, signal, reading, lanes, bodyBytesMax }
    const outcomes = await uploadSmall(job, batch)
    const alone: SeenFile[] = []
    for (const [file, outcome] of outcomes)
      if (outcome.kind === 'sealed') await succeed(file, outcome.result)
      else if (outcome.kind === 'failed') fail(file, outcome.error)
      else alone.push(file)
    for (const file of alone) await sendAlone(file)
  }
  const large = files.filter(({ sizeBytes }) => !isSmallFile(sizeBytes, options))
  const concurrency = options.concurrency ?? DEFAULT_CONCURRENCY
  await Promise.all([
    forEachLimited(batches, atOnce, sendTogether),
    forEachLimited(large, filesAtOnce(concurrency), sendAlone),
  ])
}

/** What is there before anything is read: for the total, and to know the same files again. */
async function lookAt(
  entries: readonly UploadEntry[],
  { signal }: UploadAllOptions,
): Promise<SeenFile[]> {
  const files: SeenFile[] = []
  const realFolders = new Map<string, string>()
  for (const { file, name, contentType } of entries) {
    if (signal?.aborted === true) throw interrupted(signal.reason)
    // What cannot be looked at fails later, with its name.
    const found = await lstat(file, { bigint: true }).catch(() => undefined)
    const path = found?.isFile() === true ? await resolveFolder(file, realFolders) : file
    const [sizeBytes, mtimeNs] = [found?.size ?? 0n, found?.mtimeNs ?? 0n]
    files.push({ name, path, contentType, sizeBytes, mtimeNs })
  }
  return files
}

/** The path of a plain file with all links resolved; each folder is looked up once. */
async function resolveFolder(file: string, known: Map<string, string>): Promise<string> {
  const folder = dirname(file)
  const real = known.get(folder) ?? (await realpath(folder))
  known.set(folder, real)
  return join(real, basename(file))
}

async function allotRun(
  connection: Connection,
  task: string,
  slot: ReturnType<typeof openJournal>,
  signal: AbortSignal | undefined,
): Promise<number> {
  const earlier = await slot.read()
  const entry = earlier ?? newEntry()
  if (earlier === undefined) await slot.write(entry)
  const { run } = await call(
    connection,
    'allotRun',
    { params: { task }, body: { requestId: entry.requestId } },
    { signal },
  )
  return run
}

function checkDistinct(entries: readonly UploadEntry[]): void {
  const seen = new Set<string>()
  for (const { name } of entries) {
    if (seen.has(name))
      throw new ArtifactError('usage', `Cannot upload: two files have the name ${name}`, {
        expected: 'a name for each',
        found: name,
      })
    seen.add(name)
  }
}
