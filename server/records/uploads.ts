/** Upload sessions. Every change of state is one conditional UPDATE, so of two rivals exactly one wins. */
import type { Artifact, Part } from '../../schemas/artifact.ts'
import type { SealPolicy } from '../../schemas/primitives.ts'
import { Problem } from '../../schemas/problems.ts'
import type { OpenUpload, Upload, UploadState } from '../../schemas/upload.ts'
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
  tokenId: string
  tokenName: string
  openedAt: Date
  movedAt: Date
  expiresAt: Date
}

interface UploadRow {
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
  token_id: string
  token_name: string
  opened_at: Date
  moved_at: Date
  expires_at: Date
}

export interface NewUpload {
  request: OpenUpload
  partSizeBytes: number
  policy: SealPolicy
  blobKey: string
  tokenId: string
  tokenName: string
  openedAt: Date
  expiresAt: Date
}

/** Inserts an upload unless its id is taken: `false` then. */
export async function insertUpload(sql: AnySql, upload: NewUpload): Promise<boolean> {
  const { request } = upload
  const rows = await sql`
    insert into artifact.upload (
      id, task, run, name, size, sha256, part_size, content_type, labels, policy, blob_key,
      progress_total, progress_at, token_id, token_name, opened_at, moved_at, expires_at
    ) values (
      ${request.id}, ${request.task}, ${request.run}, ${request.name},
      ${request.sizeBytes}, ${request.sha256 === null ? null : Buffer.from(request.sha256, 'hex')},
      ${upload.partSizeBytes}, ${request.contentType}, ${sql.json(request.labels)},
      ${upload.policy}, ${upload.blobKey}, ${request.sizeBytes}, ${upload.openedAt},
      ${upload.tokenId}, ${upload.tokenName}, ${upload.openedAt}, ${upload.openedAt}, ${upload.expiresAt}
    )
    on conflict do nothing
    returning 1`
  return rows.length === 1
}

/** The upload with that id, or `undefined`. */
export async function findUpload(sql: AnySql, id: string): Promise<UploadRecord | undefined> {
  const [row] = await sql<[UploadRow?]>`
    select ${columns(sql)} from artifact.upload where id = ${id}`
  return row === undefined ? undefined : parseRow(row)
}

/** Uploads that a token keeps open. */
export async function countActiveUploads(sql: AnySql, tokenId: string): Promise<number> {
  const [row] = await sql<[{ count: bigint }]>`
    select count(*) from artifact.upload
    where token_id = ${tokenId} and state in ('open', 'verifying')`
  return Number(row.count)
}

/** Uploads that are open or verifying, of all tokens. */
export async function countAllActiveUploads(sql: AnySql): Promise<number> {
  const [row] = await sql<[{ count: bigint }]>`
    select count(*) from artifact.upload where state in ('open', 'verifying')`
  return Number(row.count)
}

export type UploadFilter = UploadState | 'active'

/** A place in the list of uploads, the latest opened first. */
export interface UploadCursor {
  openedAt: Date
  id: string
}

/** A page of uploads, the latest opened first; `after` is exclusive. */
export async function listUploads(
  sql: AnySql,
  filter: {
    state: UploadFilter
    task: string | undefined
    after: UploadCursor | undefined
    limit: number
  },
): Promise<UploadRecord[]> {
  const { state, task, after } = filter
  const rows = await sql<UploadRow[]>`
    select ${columns(sql)} from artifact.upload
    where ${state === 'active' ? sql`state in ('open', 'verifying')` : sql`state = ${state}`}
      ${task === undefined ? sql`` : sql`and task = ${task}`}
      ${after === undefined ? sql`` : sql`and (opened_at, id) < (${after.openedAt}, ${after.id})`}
    order by opened_at desc, id desc limit ${filter.limit}`
  return rows.map(parseRow)
}

/** Remembers what the store needs; the first session stays, and is returned. */
export async function keepStoreSession(sql: AnySql, id: string, session: string): Promise<string> {
  const [row] = await sql<[{ store_session: string }]>`
    update artifact.upload set store_session = coalesce(store_session, ${session})
    where id = ${id} returning store_session`
  return row.store_session
}

/** Binds digests to part numbers; a number that is bound keeps its digest. Returns what is bound now for these numbers. */
export async function bindParts(sql: AnySql, id: string, parts: readonly Part[]): Promise<Part[]> {
  const numbers = parts.map((part) => part.number)
  await sql`
    insert into artifact.upload_part (upload_id, number, size, sha256)
    select ${id}::uuid, number, size, decode(sha256, 'hex') from unnest(
      ${numbers}::int[], ${parts.map((part) => part.sizeBytes)}::bigint[],
      ${parts.map((part) => part.sha256)}::text[]
    ) as part (number, size, sha256)
    -- In one order for all, so that two requests wait for each other instead of in a circle.
    order by number
    on conflict (upload_id, number) do nothing`
  return findBoundParts(sql, id, numbers)
}

/** The bound parts in order: all, or those with the given numbers. */
export async function findBoundParts(sql: AnySql, id: string, numbers?: number[]): Promise<Part[]> {
  const rows = await sql<{ number: number; size: bigint; sha256: Uint8Array }[]>`
    select number, size, sha256 from artifact.upload_part
    where upload_id = ${id} ${numbers === undefined ? sql`` : sql`and number = any(${numbers}::int[])`}
    order by number`
  return rows.map((row) => ({
    number: row.number,
    sizeBytes: Number(row.size),
    sha256: Buffer.from(row.sha256).toString('hex'),
  }))
}

/** A sign of life keeps an open upload from expiring. */
export async function touchUpload(
  sql: AnySql,
  id: string,
  at: Date,
  expiresAt: Date,
): Promise<void> {
  await sql`
    update artifact.upload set moved_at = ${at}, expires_at = ${expiresAt}
    where id = ${id} and state = 'open'`
}

/** Stores the progress of an open upload; `undefined` when it is not open. */
export async function moveProgress(
  sql: AnySql,
  id: string,
  progress: { bytes: string; totalBytes: string | null; attempt: number },
  at: Date,
  expiresAt: Date,
): Promise<UploadRecord | undefined> {
  const [row] = await sql<[UploadRow?]>`
    update artifact.upload set
      progress_bytes = ${progress.bytes}, progress_total = ${progress.totalBytes},
      attempt = ${progress.attempt}, progress_at = ${at}, moved_at = ${at}, expires_at = ${expiresAt}
    where id = ${id} and state = 'open'
    returning ${columns(sql)}`
  return row === undefined ? undefined : parseRow(row)
}

/**
 * Takes the right to verify: of an open upload, or of one whose verifier let its lease run out.
 * `undefined` when another holds it or the upload has ended.
 */
export async function takeVerifying(
  sql: AnySql,
  id: string,
  claim: { sizeBytes: bigint; sha256: string },
  lease: { holder: string; at: Date; until: Date },
): Promise<UploadRecord | undefined> {
  const [row] = await sql<[UploadRow?]>`
    update artifact.upload set
      state = 'verifying', claimed_size = ${claim.sizeBytes},
      claimed_sha256 = ${Buffer.from(claim.sha256, 'hex')}, verified_bytes = 0,
      lease_holder = ${lease.holder}, lease_until = ${lease.until}, moved_at = ${lease.at}
    where id = ${id} and (state = 'open' or (
      state = 'verifying' and (lease_until is null or lease_until < ${lease.at})
      and claimed_size = ${claim.sizeBytes} and claimed_sha256 = ${Buffer.from(claim.sha256, 'hex')}))
    returning ${columns(sql)}`
  return row === undefined ? undefined : parseRow(row)
}

/** Keeps the right to verify and says how far it is; `undefined` when the right was lost. */
export async function keepVerifying(
  sql: AnySql,
  id: string,
  verifiedBytes: bigint,
  lease: { holder: string; at: Date; until: Date },
): Promise<UploadRecord | undefined> {
  const [row] = await sql<[UploadRow?]>`
    update artifact.upload set
      verified_bytes = ${verifiedBytes}, lease_until = ${lease.until}, moved_at = ${lease.at}
    where id = ${id} and state = 'verifying' and lease_holder = ${lease.holder}
    returning ${columns(sql)}`
  return row === undefined ? undefined : parseRow(row)
}

/** Gives the right to verify back, so that anyone can go on at once. */
export async function releaseVerifying(sql: AnySql, id: string, holder: string): Promise<void> {
  await sql`
    update artifact.upload set lease_until = null
    where id = ${id} and state = 'verifying' and lease_holder = ${holder}`
}

/** Turns a verification back into an open upload, so that missing parts can be sent. */
export async function reopenUpload(sql: AnySql, id: string, holder: string): Promise<void> {
  await sql`
    update artifact.upload set state = 'open', lease_until = null, claimed_size = null, claimed_sha256 = null
    where id = ${id} and state = 'verifying' and lease_holder = ${holder}`
}

/** Ends a verification; `undefined` when the right to verify was lost. */
export async function endVerifying(
  sql: AnySql,
  id: string,
  holder: string,
  at: Date,
  problem: Problem | undefined,
): Promise<UploadRecord | undefined> {
  const [row] = await sql<[UploadRow?]>`
    update artifact.upload set
      state = ${problem === undefined ? 'sealed' : 'failed'}, ended_at = ${at}, moved_at = ${at},
      verified_bytes = ${problem === undefined ? sql`claimed_size` : sql`verified_bytes`},
      problem = ${problem === undefined ? null : sql.json({ ...problem })}, lease_until = null
    where id = ${id} and state = 'verifying' and lease_holder = ${holder}
    returning ${columns(sql)}`
  return row === undefined ? undefined : parseRow(row)
}

/** Ends an open upload; `undefined` when it was not open. */
export async function endOpen(
  sql: AnySql,
  id: string,
  state: 'aborted' | 'expired',
  at: Date,
): Promise<UploadRecord | undefined> {
  const [row] = await sql<[UploadRow?]>`
    update artifact.upload set state = ${state}, ended_at = ${at}, moved_at = ${at}
    where id = ${id} and state = 'open' ${state === 'expired' ? sql`and expires_at <= ${at}` : sql``}
    returning ${columns(sql)}`
  return row === undefined ? undefined : parseRow(row)
}

/** Open uploads whose time is over, the oldest first. */
export async function findExpired(sql: AnySql, at: Date, limit: number): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    select id from artifact.upload where state = 'open' and expires_at <= ${at}
    order by expires_at limit ${limit}`
  return rows.map((row) => row.id)
}

/** Uploads that someone began to verify and nobody goes on with. */
export async function findStranded(sql: AnySql, at: Date, limit: number): Promise<UploadRecord[]> {
  const rows = await sql<UploadRow[]>`
    select ${columns(sql)} from artifact.upload
    where state = 'verifying' and (lease_until is null or lease_until < ${at})
    order by opened_at limit ${limit}`
  return rows.map(parseRow)
}

/**
 * Ended uploads whose bytes no artifact needs, ended before `before`. An upload sealed as a copy of
 * what was sealed before it is among them.
 */
export async function findUnpurged(
  sql: AnySql,
  before: Date,
  limit: number,
): Promise<UploadRecord[]> {
  const rows = await sql<UploadRow[]>`
    select ${columns(sql)} from artifact.upload as upload
    where ended_at < ${before} and purged_at is null
      and not exists (select from artifact.artifact where blob_key = upload.blob_key)
    order by ended_at limit ${limit}`
  return rows.map(parseRow)
}

/** Notes that nothing of these uploads is left to forget in the store. */
export async function markPurged(sql: AnySql, ids: string[], at: Date): Promise<void> {
  await sql`update artifact.upload set purged_at = ${at} where id = any(${ids}::uuid[])`
}

/** Notes the same for uploads whose bytes belong to an artifact. */
export async function markSealedPurged(sql: AnySql, before: Date, at: Date): Promise<void> {
  await sql`
    update artifact.upload as upload set purged_at = ${at}
    where ended_at < ${before} and purged_at is null and state = 'sealed'
      and exists (select from artifact.artifact where blob_key = upload.blob_key)`
}

/** Forgets uploads that ended long ago; the artifacts stay. */
export async function deleteEnded(sql: AnySql, before: Date): Promise<number> {
  const rows = await sql`
    delete from artifact.upload where ended_at < ${before} and purged_at is not null returning 1`
  return rows.length
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
    },
    openedAt: record.openedAt.toISOString(),
    openedBy: { tokenId: record.tokenId, tokenName: record.tokenName },
    movedAt: record.movedAt.toISOString(),
    expiresAt: record.expiresAt.toISOString(),
  }
}

const columns = (sql: AnySql) => sql`
  id, task, run, name, size, sha256, part_size, content_type, labels, policy, state, blob_key,
  store_session, claimed_size, claimed_sha256, verified_bytes, problem, progress_bytes,
  progress_total, progress_at, attempt, token_id, token_name, opened_at, moved_at, expires_at`

const hex = (digest: Uint8Array) => Buffer.from(digest).toString('hex')

function parseRow(row: UploadRow): UploadRecord {
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
    tokenId: row.token_id,
    tokenName: row.token_name,
    openedAt: row.opened_at,
    movedAt: row.moved_at,
    expiresAt: row.expires_at,
  }
}
