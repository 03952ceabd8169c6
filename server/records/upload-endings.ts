/**
 * How uploads are verified and how they end. Every change of state is one conditional UPDATE, so of
 * two rivals exactly one wins.
 */
import type { Part } from '../../schemas/artifact.ts'
import type { SmallArtifact } from '../../schemas/batch.ts'
import type { SealPolicy } from '../../schemas/primitives.ts'
import type { Problem } from '../../schemas/problem-document.ts'
import { WHOLE_SESSION } from '../stores/store.ts'
import type { AnySql, Sql } from './database.ts'
import { ensuringRuns } from './tasks.ts'
import { columns, parseRow, type UploadRecord, type UploadRow } from './upload-row.ts'

/**
 * Takes the right to verify: of an open upload, all of which has been sent then, or of one whose verifier
 * let its lease run out. `undefined` when another holds it or the upload has ended.
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
      lease_holder = ${lease.holder}, lease_until = ${lease.until}, moved_at = ${lease.at},
      progress_bytes = ${claim.sizeBytes}, progress_total = ${claim.sizeBytes},
      progress_at = case when state = 'open' then ${lease.at} else progress_at end
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

/**
 * Gives back every right to verify, whoever has it. Only for one who knows that all others are dead:
 * a server that alone holds the data folder of its own Postgres.
 */
export async function releaseAllVerifying(sql: AnySql): Promise<void> {
  await sql`update artifact.upload set lease_until = null where state = 'verifying'`
}

/** Turns a verification back into an open upload, so that missing parts can be sent. */
export async function reopenUpload(sql: AnySql, id: string, holder: string): Promise<void> {
  await sql`
    update artifact.upload set state = 'open', lease_until = null, claimed_size = null, claimed_sha256 = null
    where id = ${id} and state = 'verifying' and lease_holder = ${holder}`
}

/** An upload whose bytes came with its claim. */
export interface NewVerifying {
  request: Pick<SmallArtifact, 'id' | 'task' | 'run' | 'name' | 'contentType' | 'labels'>
  claim: { sha256: string; sizeBytes: bigint; parts: readonly Part[] }
  partSizeBytes: number
  policy: SealPolicy
  blobKey: string
  tokenId: string
  tokenName: string
  openedAt: Date
  expiresAt: Date
  holder: string
  leaseUntil: Date
}

/**
 * Inserts uploads that are being verified from the start, with their runs and parts; those whose id is
 * taken are left out, be it by an artifact whose upload was forgotten long ago.
 */
export async function insertVerifying(
  sql: Sql,
  uploads: readonly NewVerifying[],
): Promise<UploadRecord[]> {
  const parts = uploads.flatMap(({ request, claim }) =>
    claim.parts.map((part) => ({ ...part, id: request.id })),
  )
  const rows = await sql<UploadRow[]>`
    with new as materialized (
      select * from jsonb_to_recordset(${sql.json(uploads.map(toColumns))}) as new (
        id uuid, task text, run int, name text, size bigint, sha256 text, part_size bigint,
        content_type text, labels jsonb, policy text, blob_key text, holder uuid,
        lease_until timestamptz, token_id uuid, token_name text, opened_at timestamptz,
        expires_at timestamptz
      )
    ), ${ensuringRuns(sql, sql`select task, run from new`)}, fresh as (
      insert into artifact.upload (
        id, task, run, name, size, sha256, part_size, content_type, labels, policy, state, blob_key,
        store_session, claimed_size, claimed_sha256, lease_holder, lease_until, progress_bytes,
        progress_total, progress_at, token_id, token_name, opened_at, moved_at, expires_at
      )
      select id, task, run, name, size, decode(sha256, 'hex'), part_size, content_type, labels, policy,
        'verifying', blob_key, ${WHOLE_SESSION}, size, decode(sha256, 'hex'), holder, lease_until, size,
        size, opened_at, token_id, token_name, opened_at, opened_at, expires_at
      from new
      where (select count(*) from new_run) >= 0
        -- Looked up one by one. As an anti join it reads all artifacts where there are but some thousands:
        -- Postgres expects a hundred rows of any JSON.
        and (select true from artifact.artifact where upload_id = new.id) is null
      -- In one order for all: two that repeat the same uploads wait for each other, not in a circle.
      order by id
      on conflict do nothing
      returning ${columns(sql)}
    ), bound as (
      insert into artifact.upload_part (upload_id, number, size, sha256)
      select id, number, "sizeBytes", decode(part.sha256, 'hex')
      from jsonb_to_recordset(${sql.json(parts)})
        as part (id uuid, number int, "sizeBytes" bigint, sha256 text)
        join fresh using (id)
    )
    select * from fresh`
  return rows.map(parseRow)
}

function toColumns({ request, claim, ...upload }: NewVerifying) {
  return {
    id: request.id,
    task: request.task,
    run: request.run,
    name: request.name,
    size: claim.sizeBytes.toString(),
    sha256: claim.sha256,
    part_size: upload.partSizeBytes,
    content_type: request.contentType,
    labels: request.labels,
    policy: upload.policy,
    blob_key: upload.blobKey,
    holder: upload.holder,
    lease_until: upload.leaseUntil.toISOString(),
    token_id: upload.tokenId,
    token_name: upload.tokenName,
    opened_at: upload.openedAt.toISOString(),
    expires_at: upload.expiresAt.toISOString(),
  }
}

/** Ends verifications with a seal; those whose right to verify was lost are left out. */
export async function endSealed(
  sql: AnySql,
  uploads: readonly { id: string; holder: string }[],
  at: Date,
): Promise<UploadRecord[]> {
  const rows = await sql<UploadRow[]>`
    update artifact.upload as upload set
      state = 'sealed', ended_at = ${at}, moved_at = ${at}, verified_bytes = claimed_size,
      lease_until = null
    from unnest(
      ${uploads.map(({ id }) => id)}::uuid[], ${uploads.map(({ holder }) => holder)}::uuid[]
    ) as ended (upload_id, holder)
    where upload.id = ended.upload_id and upload.lease_holder = ended.holder
      and upload.state = 'verifying'
    returning ${columns(sql)}`
  return rows.map(parseRow)
}

/** Ends a verification with a failure; `undefined` when the right to verify was lost. */
export async function endFailed(
  sql: AnySql,
  id: string,
  holder: string,
  at: Date,
  problem: Problem,
): Promise<UploadRecord | undefined> {
  const [row] = await sql<[UploadRow?]>`
    update artifact.upload set
      state = 'failed', ended_at = ${at}, moved_at = ${at}, problem = ${sql.json({ ...problem })},
      lease_until = null
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

/**
 * Uploads that someone began to verify and nobody goes on with, those first that were tried longest ago:
 * some that fail again and again must not keep the others from their turn.
 */
export async function findStranded(sql: AnySql, at: Date, limit: number): Promise<UploadRecord[]> {
  const rows = await sql<UploadRow[]>`
    select ${columns(sql)} from artifact.upload
    where state = 'verifying' and (lease_until is null or lease_until < ${at})
    order by moved_at limit ${limit}`
  return rows.map(parseRow)
}

/** Whether the bytes of an upload are those of an artifact, and were not removed. */
const isNeeded = (sql: AnySql) => sql`
  exists (select from artifact.artifact where blob_key = upload.blob_key) and not exists (
    select from artifact.log_leaf as leaf where leaf.kind = 'remove' and leaf.task = upload.task
      and leaf.run = upload.run and leaf.name = upload.name)`

/**
 * Ended uploads whose bytes no artifact needs, ended before `before`. An upload sealed as a copy of
 * what was sealed before it is among them, and one whose artifact was removed so soon that a late part
 * could have brought the bytes back.
 */
export async function findUnpurged(
  sql: AnySql,
  before: Date,
  limit: number,
): Promise<UploadRecord[]> {
  const rows = await sql<UploadRow[]>`
    select ${columns(sql)} from artifact.upload as upload
    where ended_at < ${before} and purged_at is null and not (${isNeeded(sql)})
    order by ended_at limit ${limit}`
  return rows.map(parseRow)
}

/** Notes that nothing of these uploads is left to forget in the store. */
export async function markPurged(sql: AnySql, ids: string[], at: Date): Promise<void> {
  await sql`update artifact.upload set purged_at = ${at} where id = any(${ids}::uuid[])`
}

/**
 * Uploads that one statement of these changes. A sweep that comes late finds a million of them, and
 * must not meet the time limit of a statement, round after round, with nothing done.
 */
const ENDED_AT_ONCE = 2000

/** Notes the same for uploads whose bytes belong to an artifact. */
export async function markSealedPurged(sql: AnySql, before: Date, at: Date): Promise<void> {
  for (;;) {
    const { count } = await sql`
      update artifact.upload set purged_at = ${at}
      where purged_at is null and id = any(array(
        select id from artifact.upload as upload
        where ended_at < ${before} and purged_at is null and state = 'sealed' and ${isNeeded(sql)}
        order by ended_at limit ${ENDED_AT_ONCE}))`
    if (count < ENDED_AT_ONCE) return
  }
}

/** Forgets uploads that ended long ago, and returns how many; the artifacts stay. */
export async function deleteEnded(sql: AnySql, before: Date): Promise<number> {
  for (let deleted = 0; ; ) {
    const { count } = await sql`
      delete from artifact.upload where id = any(array(
        select id from artifact.upload
        where ended_at < ${before} and purged_at is not null
        order by ended_at limit ${ENDED_AT_ONCE}))`
    deleted += count
    if (count < ENDED_AT_ONCE) return deleted
  }
}
