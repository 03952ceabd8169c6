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

/** Inserts the record unless its name is taken, or this upload is sealed already: `false` then, and nothing changes. */
export async function insertArtifact(sql: AnySql, artifact: NewArtifact): Promise<boolean> {
  const rows = await sql`
    insert into artifact.artifact (
      task, run, name, sha256, size, part_size, part_sha256s, content_type, labels, policy,
      store, blob_key, blob_tag, upload_id, opened_at, sealed_by_token, sealed_by_name
    ) values (
      ${artifact.task}, ${artifact.run}, ${artifact.name}, ${Buffer.from(artifact.sha256, 'hex')},
      ${artifact.sizeBytes}, ${artifact.partSizeBytes},
      ${Buffer.from(artifact.parts.map((part) => part.sha256).join(''), 'hex')},
      ${artifact.contentType}, ${sql.json(artifact.labels)}, ${artifact.policy},
      ${artifact.store}, ${artifact.blobKey}, ${artifact.blobTag}, ${artifact.uploadId},
      ${artifact.openedAt}, ${artifact.tokenId}, ${artifact.tokenName}
    )
    on conflict do nothing
    returning 1`
  return rows.length === 1
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
