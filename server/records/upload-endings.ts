/**
 * How uploads are verified and how they end. Every change of state is one conditional UPDATE, so of
 * two rivals exactly one wins.
 */
import type { Problem } from '../../schemas/problems.ts'
import type { AnySql } from './database.ts'
import { columns, parseRow, type UploadRecord, type UploadRow } from './upload-row.ts'

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
