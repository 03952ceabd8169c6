/** The sealed records: read and insert, nothing else. */
import type { Artifact, Part } from '../../schemas/artifact.ts'
import { countParts, rangeOfPart } from '../../schemas/part-plan.ts'
import type { SealPolicy } from '../../schemas/primitives.ts'
import type { RunSelector } from '../../schemas/reference.ts'
import type { AnySql } from './database.ts'
import { prefixEnd } from './tasks.ts'

/** A record, and where its bytes lie. */
export interface StoredArtifact {
  artifact: Artifact
  blobKey: string
  blobTag: string
}

export interface NewArtifact {
  task: string
  run: number
  name: string
  /** Hexadecimal. */
  sha256: string
  sizeBytes: bigint
  partSizeBytes: number
  /** Digests of all parts in order. */
  parts: readonly Part[]
  contentType: string
  labels: Record<string, string>
  policy: SealPolicy
  store: string
  blobKey: string
  blobTag: string
  uploadId: string
  openedAt: Date
  tokenId: string
  tokenName: string
}

interface ArtifactRow {
  task: string
  run: number
  name: string
  sha256: Uint8Array
  size: bigint
  part_size: bigint
  content_type: string
  labels: Record<string, string>
  policy: SealPolicy
  blob_key: string
  blob_tag: string
  upload_id: string
  opened_at: Date
  sealed_at: Date
  sealed_by_token: string
  sealed_by_name: string
}

/**
 * Inserts records, those whose name is free, in order. Returns what was inserted, by upload id; of
 * two that want one name the first gets it.
 */
export async function insertArtifacts(
  sql: AnySql,
  artifacts: readonly NewArtifact[],
  sealedAt: Date,
): Promise<Map<string, Artifact>> {
  const rows = await sql<ArtifactRow[]>`
    insert into artifact.artifact (
      task, run, name, sha256, size, part_size, part_sha256s, content_type, labels, policy,
      store, blob_key, blob_tag, upload_id, opened_at, sealed_at, sealed_by_token, sealed_by_name
    )
    select task, run, name, decode(sha256, 'hex'), size, part_size, decode(part_sha256s, 'hex'),
      content_type, labels, policy, store, blob_key, blob_tag, upload_id, opened_at, ${sealedAt},
      token_id, token_name
    from jsonb_to_recordset(${sql.json(artifacts.map(toColumns))}) as new (
      task text, run int, name text, sha256 text, size bigint, part_size bigint, part_sha256s text,
      content_type text, labels jsonb, policy text, store text, blob_key text, blob_tag text,
      upload_id uuid, opened_at timestamptz, token_id uuid, token_name text
    )
    on conflict do nothing
    returning ${columns(sql)}`
  return new Map(rows.map((row) => [row.upload_id, formatStored(row).artifact]))
}

function toColumns(artifact: NewArtifact) {
  return {
    task: artifact.task,
    run: artifact.run,
    name: artifact.name,
    sha256: artifact.sha256,
    size: artifact.sizeBytes.toString(),
    part_size: artifact.partSizeBytes,
    part_sha256s: artifact.parts.map((part) => part.sha256).join(''),
    content_type: artifact.contentType,
    labels: artifact.labels,
    policy: artifact.policy,
    store: artifact.store,
    blob_key: artifact.blobKey,
    blob_tag: artifact.blobTag,
    upload_id: artifact.uploadId,
    opened_at: artifact.openedAt.toISOString(),
    token_id: artifact.tokenId,
    token_name: artifact.tokenName,
  }
}

/** The record of a name; `latest` is the highest run in which this name is sealed. */
export async function findArtifact(
  sql: AnySql,
  task: string,
  run: RunSelector,
  name: string,
): Promise<StoredArtifact | undefined> {
  const [row] = await sql<[ArtifactRow?]>`
    select ${columns(sql)} from artifact.artifact
    where task = ${task} and name = ${name} ${run === 'latest' ? sql`` : sql`and run = ${run}`}
    order by run desc limit 1`
  return row === undefined ? undefined : formatStored(row)
}

/** The records of these names of one run, as far as they are sealed; in no order. */
export async function findStored(
  sql: AnySql,
  task: string,
  run: number,
  names: readonly string[],
): Promise<StoredArtifact[]> {
  const rows = await sql<ArtifactRow[]>`
    select ${columns(sql)} from artifact.artifact
    where task = ${task} and run = ${run} and name = any(${[...names]}::text[])`
  return rows.map(formatStored)
}

/** Which of these names are sealed, and as what; in no order. */
export async function findArtifacts(
  sql: AnySql,
  wanted: readonly { task: string; run: number; name: string }[],
): Promise<Artifact[]> {
  const rows = await sql<ArtifactRow[]>`
    select ${columns(sql)} from artifact.artifact
    where (task, run, name) in (select * from unnest(
      ${wanted.map(({ task }) => task)}::text[], ${wanted.map(({ run }) => run)}::int[],
      ${wanted.map(({ name }) => name)}::text[]))`
  return rows.map((row) => formatStored(row).artifact)
}

/** Whether the bytes under this key are those of an artifact, be they removed. */
export async function isBlobSealed(sql: AnySql, blobKey: string): Promise<boolean> {
  const rows = await sql`select from artifact.artifact where blob_key = ${blobKey}`
  return rows.length > 0
}

/** Whether the bytes under this key are those of an artifact, and were not removed. */
export async function isBlobNeeded(sql: AnySql, blobKey: string): Promise<boolean> {
  const rows = await sql`
    select from artifact.artifact as sealed where blob_key = ${blobKey} and not exists (
      select from artifact.log_leaf as leaf where leaf.kind = 'remove' and leaf.task = sealed.task
        and leaf.run = sealed.run and leaf.name = sealed.name)`
  return rows.length > 0
}

/** The part digests of a sealed artifact in order, or `undefined` when there is no such artifact. */
export async function findParts(
  sql: AnySql,
  artifact: Pick<Artifact, 'task' | 'run' | 'name'>,
): Promise<Part[] | undefined> {
  const [row] = await sql<[{ size: bigint; part_size: bigint; part_sha256s: Uint8Array }?]>`
    select size, part_size, part_sha256s from artifact.artifact
    where task = ${artifact.task} and run = ${artifact.run} and name = ${artifact.name}`
  if (row === undefined) return undefined
  const digests = Buffer.from(row.part_sha256s)
  const partSizeBytes = Number(row.part_size)
  return Array.from({ length: countParts(row.size, partSizeBytes) }, (_, index) => ({
    number: index + 1,
    sizeBytes: rangeOfPart(row.size, partSizeBytes, index + 1).sizeBytes,
    sha256: digests.subarray(index * 32, index * 32 + 32).toString('hex'),
  }))
}

/**
 * Artifacts of a run by name: those after `after` that start with `prefix`. Compared as rows they are
 * one range of the primary key; given column by column, Postgres may take the index of the latest
 * runs instead and step through every run of the task.
 */
export async function listArtifacts(
  sql: AnySql,
  task: string,
  run: number,
  page: { prefix: string; after: string; limit: number },
): Promise<Artifact[]> {
  const end = prefixEnd(page.prefix)
  // One lower bound: of two, Postgres begins at the first and steps over what is below the second.
  const isLater = Buffer.compare(Buffer.from(page.after), Buffer.from(page.prefix)) >= 0
  const rows = await sql<ArtifactRow[]>`
    select ${columns(sql)} from artifact.artifact
    where (task, run, name) ${isLater ? sql`> (${task}, ${run}, ${page.after})` : sql`>= (${task}, ${run}, ${page.prefix})`}
      and ${end === null ? sql`(task, run) <= (${task}, ${run})` : sql`(task, run, name) < (${task}, ${run}, ${end})`}
    order by task, run, name limit ${page.limit}`
  return rows.map((row) => formatStored(row).artifact)
}

/** The highest run of a task in which anything is sealed. */
export async function findLatestRun(sql: AnySql, task: string): Promise<number | undefined> {
  const [row] = await sql<[{ run: number }?]>`
    select run from artifact.artifact where task = ${task} order by run desc limit 1`
  return row?.run
}

const columns = (sql: AnySql) => sql`
  task, run, name, sha256, size, part_size, content_type, labels, policy,
  blob_key, blob_tag, upload_id, opened_at, sealed_at, sealed_by_token, sealed_by_name`

function formatStored(row: ArtifactRow): StoredArtifact {
  const partSizeBytes = Number(row.part_size)
  return {
    blobKey: row.blob_key,
    blobTag: row.blob_tag,
    artifact: {
      task: row.task,
      run: row.run,
      name: row.name,
      reference: `${row.task}/${row.run}/${row.name}`,
      sha256: Buffer.from(row.sha256).toString('hex'),
      sizeBytes: row.size.toString(),
      partSizeBytes,
      partCount: countParts(row.size, partSizeBytes),
      contentType: row.content_type,
      labels: row.labels,
      policy: row.policy,
      uploadId: row.upload_id,
      openedAt: row.opened_at.toISOString(),
      sealedAt: row.sealed_at.toISOString(),
      sealedBy: { tokenId: row.sealed_by_token, tokenName: row.sealed_by_name },
    },
  }
}
