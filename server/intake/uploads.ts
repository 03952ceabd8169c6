/** What else happens to an open upload: it is looked at, reports progress, is aborted or expires. */
import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Progress, ReportProgress, Upload, UploadWithParts } from '../../schemas/upload.ts'
import { isAllowed, type Principal } from '../access/scopes.ts'
import { findArtifact, isBlobNeeded } from '../records/artifacts.ts'
import type { Sql } from '../records/database.ts'
import { appendUploadEvent } from '../records/events.ts'
import { endOpen } from '../records/upload-endings.ts'
import { formatUpload, type SettledRecord, type UploadRecord } from '../records/upload-row.ts'
import { findBoundParts, findUpload, moveProgress, noteProgress } from '../records/uploads.ts'
import { ended, type Intake, openSession } from './session.ts'

/** The upload, if the principal may write its name; else `not_found`, as if it were not there. */
export async function getOwnUpload(
  sql: Sql,
  principal: Principal,
  id: string,
): Promise<UploadRecord> {
  const record = await findUpload(sql, id)
  if (record !== undefined && isAllowed(principal, 'upload', record.task, record.name))
    return record
  throw new ArtifactError('not_found', `Cannot find upload ${id}: there is none`)
}

/** The wire form, with the artifact when it is sealed. */
export async function describeUpload(sql: Sql, record: SettledRecord): Promise<Upload> {
  if (record.state !== 'sealed' || record.artifact !== undefined)
    return formatUpload(record, record.artifact)
  const stored = await findArtifact(sql, record.task, record.run, record.name)
  return formatUpload(record, stored?.artifact)
}

/** The upload and the parts that the store holds, each with the digest that was bound to it. */
export async function inspectUpload(
  intake: Intake,
  record: UploadRecord,
): Promise<UploadWithParts> {
  const upload = await describeUpload(intake.sql, record)
  if (record.state !== 'open') return { upload, parts: [] }
  return { upload, parts: await listHeldParts(intake, record) }
}

/**
 * The parts in the store. The store refuses bytes with another digest than the bound one, so what
 * it holds under a number and of the bound size is the bound part.
 */
async function listHeldParts(intake: Intake, record: UploadRecord): Promise<Part[]> {
  const bound = await findBoundParts(intake.sql, record.id)
  if (bound.length === 0) return []
  const held = await intake.store.listParts(await openSession(intake, record))
  const sizes = new Map(held.map((part) => [part.number, part.sizeBytes]))
  return bound.filter((part) => sizes.get(part.number) === part.sizeBytes)
}

/** Two reports closer than this are one to those who watch. */
const EVENT_SPACING_MS = 500

/** Takes a progress report. Throws `upload_ended` unless the upload is open. */
export async function reportProgress(
  intake: Intake,
  record: UploadRecord,
  report: ReportProgress,
): Promise<Progress> {
  if (record.state !== 'open') throw ended(record)
  const now = intake.clock()
  const expiresAt = new Date(now.getTime() + intake.settings.uploadTtlSeconds * 1000)
  const isNews =
    now.getTime() - record.progress.at.getTime() >= EVENT_SPACING_MS ||
    record.progress.attempt !== report.attempt ||
    report.bytes === report.totalBytes
  const moved = isNews
    ? await intake.outbox.change(async (tx) => {
        const after = await moveProgress(tx, record.id, report, now, expiresAt)
        if (after !== undefined) await appendUploadEvent(tx, formatUpload(after), now)
        return after
      })
    : await noteProgress(intake.sql, record.id, report, now, expiresAt)
  if (moved === undefined) throw ended((await findUpload(intake.sql, record.id)) ?? record)
  return formatUpload(moved).progress
}

/** Aborts an upload; again is the same. Throws `upload_ended` when it ended otherwise. */
export async function abortUpload(intake: Intake, record: UploadRecord): Promise<Upload> {
  return endUpload(intake, record, 'aborted')
}

/** Ends an upload whose time is over. Throws `upload_ended` when it was not open any more. */
export async function expireUpload(intake: Intake, record: UploadRecord): Promise<Upload> {
  return endUpload(intake, record, 'expired')
}

async function endUpload(
  intake: Intake,
  record: UploadRecord,
  state: 'aborted' | 'expired',
): Promise<Upload> {
  const now = intake.clock()
  const after = await intake.outbox.change(async (tx) => {
    const changed = await endOpen(tx, record.id, state, now)
    if (changed !== undefined) await appendUploadEvent(tx, formatUpload(changed), now)
    return changed ?? (await findUpload(tx, record.id))
  })
  if (after === undefined || after.state !== state) throw ended(after ?? record)
  // What the store holds is forgotten now, and once more by the sweep, when no grant can be alive.
  await discardBlob(intake, after).catch(() => undefined)
  return formatUpload(after)
}

/** Lets the store forget an upload; the bytes of an artifact stay, whatever upload names them. */
export async function discardBlob(
  intake: Pick<Intake, 'sql' | 'store'>,
  record: UploadRecord,
): Promise<void> {
  if (record.storeSession === undefined) return
  if (await isBlobNeeded(intake.sql, record.blobKey)) return
  await intake.store.discard({
    key: record.blobKey,
    sizeBytes: record.sizeBytes,
    partSizeBytes: record.partSizeBytes,
    contentType: record.contentType,
    session: record.storeSession,
  })
}
