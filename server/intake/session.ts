/** What the steps of receiving an upload share: what they work with, and the upload's place in the store. */
import type { SealPolicy } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Clock } from '../clock.ts'
import type { Sql } from '../records/database.ts'
import type { Outbox } from '../records/outbox.ts'
import type { UploadRecord } from '../records/upload-row.ts'
import { keepStoreSession } from '../records/uploads.ts'
import type { BlobPlan, BlobSession, Store } from '../stores/store.ts'

export interface IntakeSettings {
  /** Preferred part size in bytes. */
  partSizeBytes: number
  /** Largest artifact in bytes. */
  sizeBytesMax: bigint
  /** An open upload without a sign of life expires after this. */
  uploadTtlSeconds: number
  /** Grants expire after this. */
  grantTtlSeconds: number
  /** Uploads that one token may keep open. */
  openUploadsMax: number
  /** Policy of uploads that do not ask for one. */
  policy: SealPolicy
}

export interface Intake {
  sql: Sql
  /** For changes that people watch. */
  outbox: Outbox
  store: Store
  clock: Clock
  settings: IntakeSettings
}

/** What the store knows of an upload; begins it there when nobody has yet. */
export async function openSession(intake: Intake, record: UploadRecord): Promise<BlobSession> {
  const plan: BlobPlan = {
    key: record.blobKey,
    sizeBytes: record.sizeBytes,
    partSizeBytes: record.partSizeBytes,
    contentType: record.contentType,
  }
  if (record.storeSession !== undefined) return { ...plan, session: record.storeSession }
  const begun = await intake.store.begin(plan)
  // Two requests may begin at once: the first session that is kept counts, the other is left to
  // the store's own clean-up of unfinished multipart uploads.
  const session = await keepStoreSession(intake.sql, record.id, begun)
  return { ...plan, session }
}

/** The error for an upload that takes nothing any more. */
export function ended(record: Pick<UploadRecord, 'id' | 'state'>): ArtifactError {
  return new ArtifactError(
    'upload_ended',
    `Cannot go on with upload ${record.id}: it is ${record.state}`,
    {
      expected: 'open',
      found: record.state,
    },
  )
}
