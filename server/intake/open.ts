/** Step 1 of the life of an artifact: an upload is opened, or there is nothing to do. */
import { createHash } from 'node:crypto'
import type { Artifact } from '../../schemas/artifact.ts'
import { choosePartSize, DEFAULT_PART_LIMITS } from '../../schemas/part-plan.ts'
import { ArtifactError, parseProblem } from '../../schemas/problems.ts'
import type { OpenedUpload, OpenUpload } from '../../schemas/upload.ts'
import { checkMayUpload, isAllowed, type Principal } from '../access/scopes.ts'
import { unauthenticated } from '../access/tokens.ts'
import { findArtifact } from '../records/artifacts.ts'
import type { Transaction } from '../records/database.ts'
import { appendUploadEvent } from '../records/events.ts'
import { ensureRun } from '../records/tasks.ts'
import { formatUpload, type UploadRecord } from '../records/upload-row.ts'
import { countActiveUploads, findUpload, insertUpload, lockToken } from '../records/uploads.ts'
import { grantParts } from './grants.ts'
import { ended, type Intake } from './session.ts'

/**
 * Opens an upload under the id that the client chose. Repeating it with the same words gives the
 * same upload. Throws `already_sealed` when the name is known to hold other content,
 * `upload_conflict` when the id stands for something else.
 */
export async function openUpload(
  intake: Intake,
  principal: Principal,
  request: OpenUpload,
): Promise<{ opened: OpenedUpload; isNew: boolean }> {
  checkMayUpload(principal, request.task, request.name)
  if (principal.token === undefined) throw unauthenticated()
  const sealed = await findArtifact(intake.sql, request.task, request.run, request.name)
  if (sealed !== undefined && isSettled(request, sealed.artifact))
    return { opened: { outcome: 'already-sealed', artifact: sealed.artifact }, isNew: false }

  const known = await findUpload(intake.sql, request.id)
  const isNew = known === undefined && (await insertOpened(intake, principal.token, request))
  const record = known ?? (await findUpload(intake.sql, request.id))
  if (record === undefined) throw new Error(`Upload ${request.id} vanished while it was opened`)
  checkSameWords(intake, principal, request, record)
  if (record.state === 'failed' && record.problem !== undefined) throw parseProblem(record.problem)
  if (record.state === 'aborted' || record.state === 'expired') throw ended(record)
  const grants =
    record.state === 'open' && request.parts.length > 0
      ? await grantParts(intake, record, request.parts)
      : []
  // It may have been sealed between the two looks.
  const { task, run, name, state } = record
  const after =
    state === 'sealed' ? (sealed ?? (await findArtifact(intake.sql, task, run, name))) : undefined
  const upload = formatUpload(record, after?.artifact)
  return { opened: { outcome: 'open', upload, grants }, isNew }
}

async function insertOpened(
  intake: Intake,
  token: { id: string; name: string },
  request: OpenUpload,
): Promise<boolean> {
  const { sql, clock, settings } = intake
  const partSizeBytes = dictatePartSize(intake, request)
  const openedAt = clock()
  return sql.begin(async (tx) => {
    await checkRoomForToken(tx, token.id, settings.openUploadsMax)
    await ensureRun(tx, request.task, request.run)
    const isNew = await insertUpload(tx, {
      request,
      partSizeBytes,
      policy: request.policy ?? settings.policy,
      blobKey: `blobs/${request.id.slice(0, 2)}/${request.id}`,
      tokenId: token.id,
      tokenName: token.name,
      openedAt,
      expiresAt: new Date(openedAt.getTime() + settings.uploadTtlSeconds * 1000),
    })
    const record = isNew ? await findUpload(tx, request.id) : undefined
    if (record !== undefined) await appendUploadEvent(tx, formatUpload(record), openedAt)
    return isNew
  })
}

/** More than that have no connection to Postgres at the same time. */
const OPENINGS_AT_ONCE_MAX = 500

/** Throws `too_many_uploads` when the token keeps as many open as it may. */
async function checkRoomForToken(tx: Transaction, tokenId: string, max: number): Promise<void> {
  if ((await countActiveUploads(tx, tokenId)) < max - OPENINGS_AT_ONCE_MAX) return
  // Near the limit one at a time: many that come together would all see room for one. Far from it
  // nobody waits, or thousands of small files would go up one by one.
  await lockToken(tx, tokenId)
  const open = await countActiveUploads(tx, tokenId)
  if (open < max) return
  throw new ArtifactError('too_many_uploads', 'Cannot open upload: too many are open', {
    expected: `at most ${max}`,
    found: String(open),
  })
}

function dictatePartSize({ store, settings }: Intake, request: OpenUpload): number {
  const sizeBytes = request.sizeBytes === null ? undefined : BigInt(request.sizeBytes)
  const tooLarge = (found: bigint) =>
    new ArtifactError('limit_exceeded', 'Cannot open upload: the artifact is too large', {
      expected: `at most ${settings.sizeBytesMax} bytes`,
      found: `${found} bytes`,
    })
  if (sizeBytes !== undefined && sizeBytes > settings.sizeBytesMax) throw tooLarge(sizeBytes)
  const preferredBytes = Math.max(settings.partSizeBytes, store.limits.partSizeMinBytes)
  const partSizeBytes = choosePartSize(sizeBytes, {
    preferredBytes,
    unknownSizeBytes: Math.min(
      preferredBytes * (DEFAULT_PART_LIMITS.unknownSizeBytes / DEFAULT_PART_LIMITS.preferredBytes),
      store.limits.partSizeMaxBytes,
    ),
    largestBytes: store.limits.partSizeMaxBytes,
  })
  if (partSizeBytes === undefined) throw tooLarge(sizeBytes ?? 0n)
  return partSizeBytes
}

/** Whether the very content is sealed. Throws `already_sealed` when what is known differs. */
function isSettled(request: OpenUpload, artifact: Artifact): boolean {
  const differs =
    (request.sha256 !== null && request.sha256 !== artifact.sha256) ||
    (request.sizeBytes !== null && request.sizeBytes !== artifact.sizeBytes)
  if (differs)
    throw alreadySealed(artifact, request.sha256 ?? 'not known yet', request.sizeBytes ?? '?')
  return request.sha256 !== null && request.sizeBytes !== null
}

/** The error of whoever comes second with other content; it shows both. */
export function alreadySealed(
  artifact: Artifact,
  sha256: string,
  sizeBytes: string,
): ArtifactError {
  return new ArtifactError(
    'already_sealed',
    `Cannot seal ${artifact.reference}: it is sealed with other content`,
    {
      expected: `sha256 ${artifact.sha256}, ${artifact.sizeBytes} bytes (sealed)`,
      found: `sha256 ${sha256}, ${sizeBytes} bytes (offered)`,
    },
  )
}

function checkSameWords(
  intake: Intake,
  principal: Principal,
  request: OpenUpload,
  record: UploadRecord,
): void {
  const said = fingerprint({ ...request, policy: request.policy ?? intake.settings.policy })
  const kept = fingerprint({
    ...record,
    sizeBytes: record.sizeBytes?.toString() ?? null,
    sha256: record.sha256 ?? null,
  })
  if (said === kept) return
  // Whoever may not see that upload does not learn its name from here either.
  const isVisible = isAllowed(principal, 'upload', record.task, record.name)
  const known = isVisible ? ` (${record.task}/${record.run}/${record.name})` : ''
  throw new ArtifactError('upload_conflict', `Cannot open upload ${request.id}: the id is in use`, {
    expected: `the words it was opened with${known}`,
    found: `${request.task}/${request.run}/${request.name}`,
  })
}

function fingerprint(
  words: Pick<
    OpenUpload,
    'task' | 'run' | 'name' | 'sizeBytes' | 'sha256' | 'contentType' | 'labels' | 'policy'
  >,
): string {
  const labels = Object.entries(words.labels).sort(([one], [other]) => (one < other ? -1 : 1))
  const { task, run, name, sizeBytes, sha256, contentType, policy } = words
  return createHash('sha256')
    .update(JSON.stringify([task, run, name, sizeBytes, sha256, contentType, policy, labels]))
    .digest('hex')
}
