/** Step 1 of the life of an artifact: an upload is opened, or there is nothing to do. */
import { createHash } from 'node:crypto'
import type { Artifact } from '../../schemas/artifact.ts'
import { choosePartSize, DEFAULT_PART_LIMITS } from '../../schemas/part-plan.ts'
import { parseProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { OpenedUpload, OpenUpload, PlacedUpload } from '../../schemas/upload.ts'
import { checkMayUpload, isAllowed, type Principal } from '../access/scopes.ts'
import { unauthenticated } from '../access/tokens.ts'
import { findArtifact, isBlobSealed } from '../records/artifacts.ts'
import type { AnySql } from '../records/database.ts'
import { allotRun } from '../records/tasks.ts'
import { formatUpload, type UploadRecord } from '../records/upload-row.ts'
import {
  countActiveUploads,
  findUpload,
  findVacancy,
  insertUpload,
  lockToken,
  type Vacancy,
} from '../records/uploads.ts'
import { blobKeyOf } from '../stores/blob-key.ts'
import type { BlobPlan, BlobSession } from '../stores/store.ts'
import { checkParts, grantParts, signGrants } from './grants.ts'
import { judgeRuns } from './run-ahead.ts'
import { ended, type Intake } from './session.ts'

/**
 * Opens an upload under the id that the client chose. Repeating it with the same words gives the
 * same upload. Throws `already_sealed` when the name is known to hold other content,
 * `upload_conflict` when the id stands for something else.
 */
export async function openUpload(
  intake: Intake,
  principal: Principal,
  words: OpenUpload,
): Promise<{ opened: OpenedUpload; isNew: boolean }> {
  checkMayUpload(principal, words.task, words.name)
  if (principal.token === undefined) throw unauthenticated()
  const request = { ...words, run: words.run ?? (await allotRunOf(intake, words)) }
  const key = blobKeyOf(request.id)
  const [sealed, vacancy] = await Promise.all([
    findArtifact(intake.sql, request.task, request.run, request.name),
    findVacancy(intake.sql, { id: request.id, blobKey: key, tokenId: principal.token.id }),
  ])
  if (sealed !== undefined && isSettled(request, sealed.artifact))
    return { opened: { outcome: 'already-sealed', artifact: sealed.artifact }, isNew: false }

  if (!vacancy.isOpened) await checkRun(intake, principal, request)
  const fresh = vacancy.isOpened
    ? undefined
    : await openFresh(intake, principal.token, request, vacancy)
  if (fresh !== undefined) return { opened: fresh, isNew: true }
  const record = await findUpload(intake.sql, request.id)
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
  return { opened: { outcome: 'open', upload, grants }, isNew: false }
}

async function allotRunOf({ sql }: Intake, { task, requestId }: OpenUpload): Promise<number> {
  if (requestId === undefined) throw new Error(`An upload into ${task} came without a run`)
  return (await allotRun(sql, task, requestId)).run.run
}

/** Throws `forbidden` for a run that is too far ahead for the caller. */
async function checkRun(
  { sql }: Intake,
  principal: Principal,
  request: PlacedUpload,
): Promise<void> {
  const fault = (await judgeRuns(sql, principal, [request]))(request)
  if (fault !== undefined) throw fault
}

/** Opens an upload that was not known a moment ago; `undefined` when somebody was faster. */
async function openFresh(
  intake: Intake,
  token: { id: string; name: string },
  request: PlacedUpload,
  { isSealed, openCount }: Vacancy,
): Promise<OpenedUpload | undefined> {
  const partSizeBytes = dictatePartSize(intake, request)
  const sizeBytes = request.sizeBytes === null ? undefined : BigInt(request.sizeBytes)
  checkParts({ id: request.id, sizeBytes, partSizeBytes }, request.parts)
  const isNearLimit = checkRoomForToken(openCount, intake.settings.openUploadsMax)
  // Of an artifact whose upload was forgotten long ago: whoever opens it could abort it.
  if (isSealed) throw idInUse(request, 'an id that stands for nothing else')
  const plan = {
    key: blobKeyOf(request.id),
    sizeBytes,
    partSizeBytes,
    contentType: request.contentType,
  }
  const session = await beginFresh(intake, plan, request)
  const insert = () => insertOpened(intake, token, request, { plan, session, isNearLimit })
  const record =
    session === undefined
      ? await insert()
      : await insert().catch(async (error: unknown) => {
          await forgetUnknown(intake, request.id, { ...plan, session })
          throw error
        })
  if (record === undefined) return undefined
  const grants =
    session === undefined ? [] : await signGrants(intake, { ...plan, session }, request.parts)
  return { outcome: 'open', upload: formatUpload(record), grants }
}

/** The store begins before the upload is on record, when parts are granted at once: then all of it is one transaction. */
async function beginFresh(
  { store }: Intake,
  plan: BlobPlan,
  { parts }: PlacedUpload,
): Promise<string | undefined> {
  return parts.length === 0 ? undefined : store.begin(plan)
}

/** Lets the store forget what it began for an upload that did not come to be. Best effort. */
async function forgetUnknown(intake: Intake, id: string, session: BlobSession): Promise<void> {
  try {
    // A commit whose answer was lost leaves an upload that needs it.
    const isNeeded =
      (await findUpload(intake.sql, id)) !== undefined ||
      (await isBlobSealed(intake.sql, session.key))
    if (!isNeeded) await intake.store.discard(session)
  } catch {
    // It stays, empty, until the same upload is opened again.
  }
}

async function insertOpened(
  { outbox, clock, settings }: Intake,
  token: { id: string; name: string },
  request: PlacedUpload,
  begun: { plan: BlobPlan; session: string | undefined; isNearLimit: boolean },
): Promise<UploadRecord | undefined> {
  const openedAt = clock()
  const insert = (sql: AnySql) =>
    insertUpload(sql, {
      request,
      partSizeBytes: begun.plan.partSizeBytes,
      policy: request.policy ?? settings.policy,
      blobKey: begun.plan.key,
      tokenId: token.id,
      tokenName: token.name,
      openedAt,
      expiresAt: new Date(openedAt.getTime() + settings.uploadTtlSeconds * 1000),
      storeSession: begun.session,
    })
  if (!begun.isNearLimit) return outbox.changeAtOnce(insert)
  return outbox.change(async (tx) => {
    // One at a time for this token: many that come together would all see room for one.
    await lockToken(tx, token.id)
    checkRoomForToken(await countActiveUploads(tx, token.id), settings.openUploadsMax)
    return insert(tx)
  })
}

/**
 * More openings than this are never under way at once in all servers together: each holds a
 * connection to Postgres, and those are fewer.
 */
const OPENINGS_AT_ONCE_MAX = 500

/**
 * Throws `too_many_uploads` when the token keeps as many open as it may. Returns whether all that may
 * be opening now could exceed that together; far from the limit nobody has to wait for another.
 */
function checkRoomForToken(open: number, max: number): boolean {
  if (open < max) return open + OPENINGS_AT_ONCE_MAX >= max
  throw new ArtifactError('too_many_uploads', 'Cannot open upload: too many are open', {
    expected: `at most ${max}`,
    found: String(open),
  })
}

function dictatePartSize({ store, settings }: Intake, request: PlacedUpload): number {
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
    leastBytes: Math.max(DEFAULT_PART_LIMITS.leastBytes, store.limits.partSizeMinBytes),
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
function isSettled(request: PlacedUpload, artifact: Artifact): boolean {
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
  request: PlacedUpload,
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
  throw idInUse(request, `the words it was opened with${known}`)
}

function idInUse({ id, task, run, name }: PlacedUpload, expected: string): ArtifactError {
  return new ArtifactError('upload_conflict', `Cannot open upload ${id}: the id is in use`, {
    expected,
    found: `${task}/${run}/${name}`,
  })
}

function fingerprint(
  words: Pick<
    PlacedUpload,
    'task' | 'run' | 'name' | 'sizeBytes' | 'sha256' | 'contentType' | 'labels' | 'policy'
  >,
): string {
  const labels = Object.entries(words.labels).sort(([one], [other]) => (one < other ? -1 : 1))
  const { task, run, name, sizeBytes, sha256, contentType, policy } = words
  return createHash('sha256')
    .update(JSON.stringify([task, run, name, sizeBytes, sha256, contentType, policy, labels]))
    .digest('hex')
}
