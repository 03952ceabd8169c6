import type { Artifact } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { call } from '../api.ts'
import { sha256Of } from '../verify/digest.ts'
import { type ContentClaim, checkRecord } from '../verify/verifier.ts'
import type { Connection } from './connection.ts'
import type { ContentAtHand } from './content.ts'
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
  checkAsked(record, reference)
  return completeClaim(connection, record, signal)
}

/** A record with what came along to judge it by and to get it with, none of that judged. */
export interface DeliveredClaim extends RecordClaim {
  receipt: string | undefined
  consistency: readonly string[] | undefined
  atHand: ContentAtHand
}

/**
 * {@link fetchClaim} by one question, whose answer brings the receipt and the bytes too, or the grant
 * of them; `since` is what the trust has seen.
 */
export async function fetchDelivery(
  connection: Connection,
  reference: GetReference,
  since: number | undefined,
  signal: AbortSignal,
): Promise<DeliveredClaim> {
  const { task, run, name } = reference
  const input = { params: { task, run, name }, query: { since } }
  const reply = await call(connection, 'getDelivery', input, { signal })
  const { artifact: record, parts, receipt, consistency, content } = reply
  checkAsked(record, reference)
  checkRecord({ record, parts })
  const atHand = {
    bytes: content.outcome === 'content' ? decodeContent(content.content, record) : undefined,
    grant: content.outcome === 'granted' ? content.grant : undefined,
  }
  return { record, parts, receipt: receipt ?? undefined, consistency, atHand }
}

/** The bytes, if they are right; if not they may come right another way, or that one says what is wrong. */
function decodeContent(text: string, { sizeBytes, sha256 }: Artifact): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return String(bytes.length) === sizeBytes && sha256Of(bytes) === sha256 ? bytes : undefined
}

function checkAsked(record: Artifact, { task, run, name }: GetReference): void {
  const isAsked =
    record.task === task && record.name === name && (run === 'latest' || record.run === run)
  if (isAsked) return
  throw new ArtifactError('bad_reply', `Cannot get ${task}/${run}/${name}: it is another record`, {
    expected: `${task}/${run}/${name}`,
    found: record.reference,
  })
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
