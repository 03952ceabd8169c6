/** Upload sessions while they are open: opened, found, listed, their parts, their progress. */
import type { Part } from '../../schemas/artifact.ts'
import type { SealPolicy } from '../../schemas/primitives.ts'
import type { PlacedUpload, UploadState } from '../../schemas/upload.ts'
import type { AnySql, Sql, Transaction } from './database.ts'
import { insertingEvents } from './events.ts'
import { ensuringRuns } from './tasks.ts'
import { columns, formatUpload, parseRow, type UploadRecord, type UploadRow } from './upload-row.ts'

export interface NewUpload {
  request: PlacedUpload
  partSizeBytes: number
  policy: SealPolicy
  blobKey: string
  tokenId: string
  tokenName: string
  openedAt: Date
  expiresAt: Date
  /** From the store, when it has begun. */
  storeSession: string | undefined
}

/**
 * Inserts an upload, the event that tells of it, and its run if that is new, and binds the parts of its
 * request: one statement, which is a transaction of its own unless it is part of one. `undefined` when its
 * id is taken: nothing is bound or told then. Whoever watches is told by the `Outbox`.
 */
export async function insertUpload(
  sql: AnySql,
  upload: NewUpload,
): Promise<UploadRecord | undefined> {
  const { request } = upload
  const { parts } = request
  const record = describeOpened(upload)
  const rows = await sql`
    with ${ensuringRuns(sql, sql`select ${request.task}::text as task, ${request.run}::int as run`)}, fresh as (
      insert into artifact.upload (
        id, task, run, name, size, sha256, part_size, content_type, labels, policy, blob_key,
        store_session, progress_total, progress_at, token_id, token_name, opened_at, moved_at,
        expires_at
      )
      select
        ${request.id}, ${request.task}, ${request.run}, ${request.name},
        ${request.sizeBytes}, ${request.sha256 === null ? null : Buffer.from(request.sha256, 'hex')},
        ${upload.partSizeBytes}, ${request.contentType}, ${sql.json(request.labels)},
        ${upload.policy}, ${upload.blobKey}, ${upload.storeSession ?? null}, ${request.sizeBytes},
        ${upload.openedAt}, ${upload.tokenId}, ${upload.tokenName}, ${upload.openedAt},
        ${upload.openedAt}, ${upload.expiresAt}
      where (select count(*) from new_run) >= 0
      on conflict do nothing
      returning id
    ), bound as (
      insert into artifact.upload_part (upload_id, number, size, sha256)
      select fresh.id, part.number, part.size, decode(part.sha256, 'hex')
      from fresh cross join unnest(
        ${parts.map((part) => part.number)}::int[], ${parts.map((part) => part.sizeBytes)}::bigint[],
        ${parts.map((part) => part.sha256)}::text[]
      ) as part (number, size, sha256)
    ), told as (
      ${insertingEvents(sql, [formatUpload(record)], upload.openedAt, sql`fresh`)}
    )
    select from fresh`
  return rows.length === 0 ? undefined : record
}

/** As its row has it. */
function describeOpened({ request, openedAt, ...upload }: NewUpload): UploadRecord {
  const { id, task, run, name, contentType, labels } = request
  const sizeBytes = request.sizeBytes === null ? undefined : BigInt(request.sizeBytes)
  const { partSizeBytes, policy, blobKey, storeSession, tokenId, tokenName, expiresAt } = upload
  return {
    ...{ id, task, run, name, sizeBytes, sha256: request.sha256 ?? undefined, partSizeBytes },
    ...{ contentType, labels, policy, state: 'open', blobKey, storeSession, claim: undefined },
    ...{ verifiedBytes: 0n, problem: undefined, restartedAt: undefined },
    progress: { bytes: 0n, totalBytes: sizeBytes, attempt: 1, at: openedAt },
    ...{ tokenId, tokenName, openedAt, movedAt: openedAt, expiresAt },
  }
}

/** What has to be known before an upload is opened. */
export interface Vacancy {
  /** Whether there is an upload with this id. */
  isOpened: boolean
  /** Whether the bytes under its key are those of an artifact, be they removed. */
  isSealed: boolean
  /** Uploads that the token keeps open. */
  openCount: number
}

/** Looks at all of it at once. */
export async function findVacancy(
  sql: AnySql,
  upload: { id: string; blobKey: string; tokenId: string },
): Promise<Vacancy> {
  const [row] = await sql<[Omit<Vacancy, 'openCount'> & { openCount: bigint }]>`
    select
      exists (select from artifact.upload where id = ${upload.id}) as "isOpened",
      exists (select from artifact.artifact where blob_key = ${upload.blobKey}) as "isSealed",
      ${activeUploads(sql, upload.tokenId)} as "openCount"`
  return { ...row, openCount: Number(row.openCount) }
}

/** The upload with that id, or `undefined`. */
export async function findUpload(sql: AnySql, id: string): Promise<UploadRecord | undefined> {
  const [row] = await sql<[UploadRow?]>`
    select ${columns(sql)} from artifact.upload where id = ${id}`
  return row === undefined ? undefined : parseRow(row)
}

/** Makes others who open uploads with this token wait until the transaction ends. */
export async function lockToken(tx: Transaction, tokenId: string): Promise<void> {
  await tx`select pg_advisory_xact_lock(hashtextextended('artifact.upload:' || ${tokenId}, 0))`
}

/** Uploads that a token keeps open. */
export async function countActiveUploads(sql: AnySql, tokenId: string): Promise<number> {
  const [row] = await sql<[{ count: bigint }]>`select ${activeUploads(sql, tokenId)} as count`
  return Number(row.count)
}

const activeUploads = (sql: AnySql, tokenId: string) => sql`(
  select count(*) from artifact.upload
  where token_id = ${tokenId} and state in ('open', 'verifying'))`

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

/** The last uploads that ended, the latest first. */
export async function listEndedUploads(sql: AnySql, limit: number): Promise<UploadRecord[]> {
  const rows = await sql<UploadRow[]>`
    select ${columns(sql)} from artifact.upload
    where ended_at is not null order by ended_at desc, id limit ${limit}`
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
  const rows = await sql<PartRow[]>`
    with fresh as (
      insert into artifact.upload_part (upload_id, number, size, sha256)
      select ${id}::uuid, number, size, decode(sha256, 'hex') from unnest(
        ${numbers}::int[], ${parts.map((part) => part.sizeBytes)}::bigint[],
        ${parts.map((part) => part.sha256)}::text[]
      ) as part (number, size, sha256)
      -- In one order for all, so that two requests wait for each other instead of in a circle.
      order by number
      on conflict (upload_id, number) do nothing
      returning number, size, sha256
    )
    select number, size, sha256 from fresh
    union all
    select number, size, sha256 from artifact.upload_part
    where upload_id = ${id} and number = any(${numbers}::int[])`
  // What another request bound while this one ran is in neither: too late for the one, unseen by the other.
  return rows.length < parts.length ? findBoundParts(sql, id, numbers) : rows.map(parsePart)
}

/** The bound parts in order: all, or those with the given numbers. */
export async function findBoundParts(sql: AnySql, id: string, numbers?: number[]): Promise<Part[]> {
  const rows = await sql<PartRow[]>`
    select number, size, sha256 from artifact.upload_part
    where upload_id = ${id} ${numbers === undefined ? sql`` : sql`and number = any(${numbers}::int[])`}
    order by number`
  return rows.map(parsePart)
}

interface PartRow {
  number: number
  size: bigint
  sha256: Uint8Array
}

function parsePart({ number, size, sha256 }: PartRow): Part {
  return { number, sizeBytes: Number(size), sha256: Buffer.from(sha256).toString('hex') }
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

interface NewProgress {
  bytes: string
  totalBytes: string | null
  attempt: number
}

/** Stores the progress of an open upload; `undefined` when it is not open. */
export async function moveProgress(
  sql: AnySql,
  id: string,
  progress: NewProgress,
  at: Date,
  expiresAt: Date,
): Promise<UploadRecord | undefined> {
  const [row] = await sql<[UploadRow?]>`
    update artifact.upload set ${progressColumns(sql, progress, at, expiresAt)}
    where id = ${id} and state = 'open'
    returning ${columns(sql)}`
  return row === undefined ? undefined : parseRow(row)
}

/**
 * The same for progress that no event tells of: the statement, which is its own transaction, does not
 * wait for the disk. A database that crashes may forget it, as if the report had come a moment earlier.
 */
export async function noteProgress(
  sql: Sql,
  id: string,
  progress: NewProgress,
  at: Date,
  expiresAt: Date,
): Promise<UploadRecord | undefined> {
  const [row] = await sql<[UploadRow?]>`
    with quick as materialized (select set_config('synchronous_commit', 'off', true))
    update artifact.upload set ${progressColumns(sql, progress, at, expiresAt)}
    from quick where id = ${id} and state = 'open'
    returning ${columns(sql)}`
  return row === undefined ? undefined : parseRow(row)
}

function progressColumns(sql: AnySql, progress: NewProgress, at: Date, expiresAt: Date) {
  return sql`
    progress_bytes = ${progress.bytes}, progress_total = ${progress.totalBytes},
    attempt = ${progress.attempt},
    restarted_at = case when attempt = ${progress.attempt} then restarted_at else ${at} end,
    progress_at = ${at}, moved_at = ${at}, expires_at = ${expiresAt}`
}
