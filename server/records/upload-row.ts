/** A row of an upload: what the server works with, and its wire form. */
import type { Artifact } from '../../schemas/artifact.ts'
import type { SealPolicy } from '../../schemas/primitives.ts'
import { Problem } from '../../schemas/problem-document.ts'
import type { Upload, UploadState } from '../../schemas/upload.ts'
import type { AnySql } from './database.ts'

/** An upload as the server works with it; sizes are exact, digests hexadecimal. */
export interface UploadRecord {
  id: string
  task: string
  run: number
  name: string
  /** As declared at the opening. */
  sizeBytes: bigint | undefined
  sha256: string | undefined
  partSizeBytes: number
  contentType: string
  labels: Record<string, string>
  policy: SealPolicy
  state: UploadState
  blobKey: string
  storeSession: string | undefined
  /** From the seal request. */
  claim: { sizeBytes: bigint; sha256: string } | undefined
  verifiedBytes: bigint
  problem: Problem | undefined
  progress: { bytes: bigint; totalBytes: bigint | undefined; attempt: number; at: Date }
  /** When the present attempt began, if it is not the first. */
  restartedAt: Date | undefined
  tokenId: string
  tokenName: string
  openedAt: Date
  movedAt: Date
  expiresAt: Date
}

/** An upload, and the artifact that it became when that is known without another look. */
export type SettledRecord = UploadRecord & { artifact?: Artifact }

/** As it comes from Postgres. */
export interface UploadRow {
  id: string
  task: string
  run: number
  name: string
  size: bigint | null
  sha256: Uint8Array | null
  part_size: bigint
  content_type: string
  labels: Record<string, string>
  policy: SealPolicy
  state: UploadState
  blob_key: string
  store_session: string | null
  claimed_size: bigint | null
  claimed_sha256: Uint8Array | null
  verified_bytes: bigint
  problem: unknown
  progress_bytes: bigint
  progress_total: bigint | null
  progress_at: Date
  attempt: number
  restarted_at: Date | null
  token_id: string
  token_name: string
  opened_at: Date
  moved_at: Date
  expires_at: Date
}

/** The wire form. A sealed upload needs its artifact. */
export function formatUpload(record: UploadRecord, artifact?: Artifact): Upload {
  const { state } = record
  const base = formatBase(record)
  switch (state) {
    case 'open':
    case 'aborted':
    case 'expired':
      return { ...base, state }
    case 'verifying':
      return { ...base, state, verifiedBytes: record.verifiedBytes.toString() }
    case 'sealed':
      if (artifact === undefined) throw new Error(`Upload ${record.id} is sealed without artifact`)
      return { ...base, state, artifact }
    case 'failed':
      if (record.problem === undefined)
        throw new Error(`Upload ${record.id} has failed without problem`)
      return { ...base, state, problem: record.problem }
  }
}

function formatBase(record: UploadRecord) {
  const { progress } = record
  return {
    id: record.id,
    task: record.task,
    run: record.run,
    name: record.name,
    reference: `${record.task}/${record.run}/${record.name}`,
    sizeBytes: record.sizeBytes?.toString() ?? null,
    sha256: record.sha256 ?? null,
    partSizeBytes: record.partSizeBytes,
    contentType: record.contentType,
    labels: record.labels,
    policy: record.policy,
    progress: {
      bytes: progress.bytes.toString(),
      totalBytes: progress.totalBytes?.toString() ?? null,
      attempt: progress.attempt,
      at: progress.at.toISOString(),
      ...(record.restartedAt === undefined
        ? {}
        : { restartedAt: record.restartedAt.toISOString() }),
    },
    openedAt: record.openedAt.toISOString(),
    openedBy: { tokenId: record.tokenId, tokenName: record.tokenName },
    movedAt: record.movedAt.toISOString(),
    expiresAt: record.expiresAt.toISOString(),
  }
}

/** All columns that {@link parseRow} reads. */
export const columns = (sql: AnySql) => sql`
  id, task, run, name, size, sha256, part_size, content_type, labels, policy, state, blob_key,
  store_session, claimed_size, claimed_sha256, verified_bytes, problem, progress_bytes,
  progress_total, progress_at, attempt, restarted_at, token_id, token_name, opened_at, moved_at, expires_at`

const hex = (digest: Uint8Array) => Buffer.from(digest).toString('hex')

/** The row as the server works with it. */
export function parseRow(row: UploadRow): UploadRecord {
  return {
    id: row.id,
    task: row.task,
    run: row.run,
    name: row.name,
    sizeBytes: row.size ?? undefined,
    sha256: row.sha256 === null ? undefined : hex(row.sha256),
    partSizeBytes: Number(row.part_size),
    contentType: row.content_type,
    labels: row.labels,
    policy: row.policy,
    state: row.state,
    blobKey: row.blob_key,
    storeSession: row.store_session ?? undefined,
    claim:
      row.claimed_size === null || row.claimed_sha256 === null
        ? undefined
        : { sizeBytes: row.claimed_size, sha256: hex(row.claimed_sha256) },
    verifiedBytes: row.verified_bytes,
    problem: row.problem === null ? undefined : Problem.parse(row.problem),
    progress: {
      bytes: row.progress_bytes,
      totalBytes: row.progress_total ?? undefined,
      attempt: row.attempt,
      at: row.progress_at,
    },
    restartedAt: row.restarted_at ?? undefined,
    tokenId: row.token_id,
    tokenName: row.token_name,
    openedAt: row.opened_at,
    movedAt: row.moved_at,
    expiresAt: row.expires_at,
  }
}
