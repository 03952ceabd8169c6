import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { call } from '../api.ts'
import { type ContentClaim, checkRecord } from '../verify/verifier.ts'
import type { Connection } from './connection.ts'
import type { GetReference } from './get-options.ts'

export interface RecordClaim extends ContentClaim {
  record: Artifact
}

/** The record of an artifact with its part digests. Throws `bad_reply` when they do not agree. */
export async function fetchClaim(
  connection: Connection,
  reference: GetReference,
  signal: AbortSignal,
): Promise<RecordClaim> {
  const { task, run, name } = reference
  const record = await call(connection, 'getArtifact', { params: { task, run, name } }, { signal })
  const isAsked =
    record.task === task && record.name === name && (run === 'latest' || record.run === run)
  if (!isAsked)
    throw new ArtifactError(
      'bad_reply',
      `Cannot get ${task}/${run}/${name}: it is another record`,
      {
        expected: `${task}/${run}/${name}`,
        found: record.reference,
      },
    )
  return completeClaim(connection, record, signal)
}

/** Adds the part digests to a record; that of an only part is that of the whole. */
export async function completeClaim(
  connection: Connection,
  record: Artifact,
  signal: AbortSignal,
): Promise<RecordClaim> {
  const claim = { record, parts: await fetchParts(connection, record, signal) }
  checkRecord(claim)
  return claim
}

async function fetchParts(connection: Connection, record: Artifact, signal: AbortSignal) {
  if (record.partCount === 0) return []
  if (record.partCount === 1)
    return [{ number: 1, sizeBytes: Number(record.sizeBytes), sha256: record.sha256 }]
  const { task, run, name } = record
  const { parts } = await call(
    connection,
    'getArtifactParts',
    { params: { task, run, name } },
    { signal },
  )
  return parts
}
