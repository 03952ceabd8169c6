/**
 * Many small artifacts in one request, for tools that seal thousands: the bytes come with the claim,
 * so opening, sending and sealing are one step, and all share one transaction where they can.
 *
 *     one insert: uploads, verifying -> store each -> re-read and hash -> seal all, as any upload
 *
 * An upload made here looks like one whose verifier holds the lease; when that one dies, whoever
 * takes the lease goes on with it as with any other.
 */
import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import pLimit from 'p-limit'
import { createBase64Slab, type Slab, takeBase64 } from '../../client/memory/slab.ts'
import type { Artifact } from '../../schemas/artifact.ts'
import {
  BATCH_MAX,
  type SealBatch,
  type SealedBatch,
  type SmallArtifact,
} from '../../schemas/batch.ts'
import { formatProblem, parseProblem } from '../../schemas/problem-document.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { checkMayUpload, type Principal } from '../access/scopes.ts'
import { unauthenticated } from '../access/tokens.ts'
import { alreadySealed } from '../intake/open.ts'
import { judgeRuns } from '../intake/run-ahead.ts'
import { ended, type Intake } from '../intake/session.ts'
import { findArtifacts } from '../records/artifacts.ts'
import { toDatabaseProblem } from '../records/database.ts'
import { allotRun } from '../records/tasks.ts'
import { insertVerifying, type NewVerifying, takeVerifying } from '../records/upload-endings.ts'
import type { UploadRecord } from '../records/upload-row.ts'
import { findUpload } from '../records/uploads.ts'
import { blobKeyOf } from '../stores/blob-key.ts'
import { WHOLE_SESSION } from '../stores/store.ts'
import type { Claim } from './reread.ts'
import { LEASE_SECONDS, type Sealer } from './seal.ts'

/**
 * Artifacts of each kind of batch that are under way at once. The right to verify runs from the
 * moment a batch is on record: one that waited behind many thousands of artifacts would have lost it
 * before its turn comes.
 */
const ARTIFACTS_AT_ONCE = 4 * BATCH_MAX
/** Batches up to this size do not wait for larger ones. */
const FEW = 16
/** How long a repeated artifact waits for the request that seals it. */
const PATIENCE_MS = 2000
/** How often it looks whether that one is done. */
const POLL_MS = 100

type Outcome = SealedBatch['outcomes'][number]

interface ReadItem {
  request: SmallArtifact
  bytes: Buffer
  claim: Claim
}

interface Item extends ReadItem {
  request: SmallArtifact & { run: number }
}

/** Lets batches in by turns, small ones beside large ones. */
export function createTurns(): <T>(count: number, action: () => Promise<T>) => Promise<T> {
  const few = pLimit(ARTIFACTS_AT_ONCE / FEW)
  const many = pLimit(ARTIFACTS_AT_ONCE / BATCH_MAX)
  return (count, action) => (count <= FEW ? few : many)(action)
}

/**
 * Seals what can be sealed, and says of every artifact what became of it, in the order of the
 * request. Repeating it with the same ids gives the same artifacts, in the same run. Throws
 * `unauthenticated`, what {@link allotRun} throws, and what the database throws before anything was
 * begun.
 */
export async function sealBatch(
  intake: Intake,
  sealer: Sealer,
  principal: Principal,
  { artifacts: requests, requestId }: Pick<SealBatch, 'artifacts' | 'requestId'>,
): Promise<Pick<SealedBatch, 'outcomes'>> {
  const { token } = principal
  if (token === undefined) throw unauthenticated()
  const slab = createBase64Slab(requests.map(({ content }) => content))
  const read = requests.map((request) => attempt(() => readItem(intake, principal, request, slab)))
  const items = await refuseFar(intake, principal, await placeAll(intake, read, requestId))
  const firsts = new Map<string, Item>()
  for (const item of items)
    if (!(item instanceof ArtifactError) && !firsts.has(item.request.id))
      firsts.set(item.request.id, item)
  const seals = await startSeals(intake, sealer, token, [...firsts.values()])
  const outcomes = items.map(async (item): Promise<Outcome> => {
    if (item instanceof ArtifactError) return refused(item)
    const first = firsts.get(item.request.id)
    if (first !== undefined && !hasSameWords(first, item)) return refused(idInUse(item))
    return settle(seals.get(item.request.id))
  })
  return { outcomes: await all(outcomes) }
}

function readItem(
  { settings }: Intake,
  principal: Principal,
  request: SmallArtifact,
  slab: Slab,
): ReadItem {
  checkMayUpload(principal, request.task, request.name)
  const bytes = takeBase64(slab, request.content)
  const sizeBytes = BigInt(bytes.length)
  if (sizeBytes > settings.sizeBytesMax)
    throw new ArtifactError('limit_exceeded', `Cannot seal ${request.name}: it is too large`, {
      expected: `at most ${settings.sizeBytesMax} bytes`,
      found: `${sizeBytes} bytes`,
    })
  const found = createHash('sha256').update(bytes).digest('hex')
  if (found !== request.sha256)
    throw new ArtifactError('digest_mismatch', `Cannot seal ${request.name}: the SHA-256 differs`, {
      expected: request.sha256,
      found,
    })
  const parts = bytes.length === 0 ? [] : [{ number: 1, sizeBytes: bytes.length, sha256: found }]
  return { request, bytes, claim: { sha256: found, sizeBytes, parts } }
}

/** Gives those that name no run the one that the request id allots, if any of them may be sealed at all. */
async function placeAll(
  { sql }: Intake,
  items: readonly (ReadItem | ArtifactError)[],
  requestId: string | undefined,
): Promise<(Item | ArtifactError)[]> {
  const isUnplaced = (item: ReadItem | ArtifactError): item is ReadItem =>
    !(item instanceof ArtifactError) && item.request.run === undefined
  const first = items.find(isUnplaced)
  const allotted =
    first === undefined || requestId === undefined
      ? undefined
      : (await allotRun(sql, first.request.task, requestId)).run.run
  return items.map((item) => {
    if (item instanceof ArtifactError) return item
    const { run = allotted } = item.request
    if (run === undefined) throw new Error(`An artifact of ${item.request.task} came without a run`)
    return { ...item, request: { ...item.request, run } }
  })
}

/** Refuses those whose run is too far ahead for the caller. */
async function refuseFar(
  { sql }: Intake,
  principal: Principal,
  items: readonly (Item | ArtifactError)[],
): Promise<(Item | ArtifactError)[]> {
  const placed = items.flatMap((item) => (item instanceof ArtifactError ? [] : [item.request]))
  const judge = await judgeRuns(sql, principal, placed)
  return items.map((item) => (item instanceof ArtifactError ? item : (judge(item.request) ?? item)))
}

/** The artifacts to be, by id of the upload. */
async function startSeals(
  intake: Intake,
  sealer: Sealer,
  token: { id: string; name: string },
  items: readonly Item[],
): Promise<Map<string, Promise<Artifact>>> {
  if (items.length === 0) return new Map()
  const sealed = new Map(
    (
      await findArtifacts(
        intake.sql,
        items.map(({ request }) => request),
      )
    ).map((artifact) => [artifact.reference, artifact]),
  )
  const unknown = items.filter(({ request }) => !sealed.has(referenceOf(request)))
  const fresh = await openAll(intake, sealer.holder, token, unknown)
  const meeting = createMeeting(fresh.size)
  return new Map(
    items.map((item) => {
      const known = sealed.get(referenceOf(item.request))
      const upload = fresh.get(item.request.id)
      const seal =
        known !== undefined
          ? judgeSealed(item, known)
          : upload !== undefined
            ? meeting((meet) => sealer.sealWhole(upload, item.claim, item.bytes, meet))
            : goOn(intake, sealer, item)
      return [item.request.id, seal]
    }),
  )
}

/**
 * Makes those who meet go on together, once each of them is there or has given up: what is sealed at
 * one moment is sealed by one transaction, and signed once.
 */
function createMeeting(count: number) {
  const { promise, resolve } = Promise.withResolvers<void>()
  let missing = count
  return <T>(act: (meet: () => Promise<void>) => Promise<T>): Promise<T> => {
    let isThere = false
    const meet = (): Promise<void> => {
      if (!isThere) missing--
      isThere = true
      if (missing === 0) resolve()
      return promise
    }
    return act(meet).finally(() => void meet())
  }
}

function referenceOf({ task, run, name }: Item['request']): string {
  return `${task}/${run}/${name}`
}

/** The uploads that are new, by id, each in the state that a seal leaves when it is broken off. */
async function openAll(
  { sql, clock, settings, store }: Intake,
  holder: string,
  token: { id: string; name: string },
  items: readonly Item[],
): Promise<Map<string, UploadRecord>> {
  if (items.length === 0) return new Map()
  const openedAt = clock()
  const partSizeBytes = Math.max(settings.partSizeBytes, store.limits.partSizeMinBytes, 65_536)
  const uploads = items.map(
    ({ request, claim }): NewVerifying => ({
      request,
      claim,
      partSizeBytes,
      policy: settings.policy,
      blobKey: blobKeyOf(request.id),
      tokenId: token.id,
      tokenName: token.name,
      openedAt,
      expiresAt: new Date(openedAt.getTime() + settings.uploadTtlSeconds * 1000),
      holder,
      leaseUntil: leaseUntil(openedAt),
    }),
  )
  const records = await insertVerifying(sql, uploads)
  return new Map(records.map((record) => [record.id, record]))
}

function leaseUntil(at: Date): Date {
  return new Date(at.getTime() + LEASE_SECONDS * 1000)
}

async function judgeSealed({ claim }: Item, artifact: Artifact): Promise<Artifact> {
  const sizeBytes = String(claim.sizeBytes)
  if (artifact.sha256 === claim.sha256 && artifact.sizeBytes === sizeBytes) return artifact
  throw alreadySealed(artifact, claim.sha256, sizeBytes)
}

/**
 * The id is known: the same request came before, and its reply was lost, or its server was. Waits a
 * while for whoever is at it, and takes over from one who is gone. Throws `upload_conflict` when the
 * id stands for something else, `overloaded` when the other one is not done yet, and why the upload
 * has failed if it has.
 */
async function goOn(
  intake: Intake,
  sealer: Sealer,
  item: Item,
  patienceMs = PATIENCE_MS,
): Promise<Artifact> {
  const { sql, clock } = intake
  const upload = await findUpload(sql, item.request.id)
  if (upload === undefined || !isSameUpload(upload, item)) throw idInUse(item)
  if (upload.state === 'failed' && upload.problem !== undefined) throw parseProblem(upload.problem)
  if (upload.state === 'aborted' || upload.state === 'expired') throw ended(upload)
  if (upload.state === 'sealed') {
    const [artifact] = await findArtifacts(sql, [upload])
    if (artifact === undefined) throw new Error(`Upload ${upload.id} is sealed without artifact`)
    return judgeSealed(item, artifact)
  }
  const at = clock()
  const lease = { holder: sealer.holder, at, until: leaseUntil(at) }
  const taken = await takeVerifying(sql, upload.id, item.claim, lease)
  if (taken !== undefined) return sealer.sealWhole(taken, item.claim, item.bytes)
  if (patienceMs <= 0)
    throw new ArtifactError(
      'overloaded',
      `Cannot seal ${item.request.name}: another request does, and is not done yet`,
      { retryAfterSeconds: 1 },
    )
  await delay(POLL_MS)
  return goOn(intake, sealer, item, patienceMs - POLL_MS)
}

/** Whether the upload was made by this very request, word for word. */
function isSameUpload(upload: UploadRecord, { request, claim }: Item): boolean {
  return (
    // One that is sent in parts keeps its parts elsewhere.
    upload.storeSession === WHOLE_SESSION &&
    upload.claim?.sizeBytes === claim.sizeBytes &&
    spell(upload) === spell({ ...request, sha256: claim.sha256 })
  )
}

function hasSameWords({ request: one }: Item, { request: other }: Item): boolean {
  return spell(one) === spell(other)
}

function spell(
  words: Pick<UploadRecord, 'task' | 'run' | 'name' | 'sha256' | 'contentType' | 'labels'>,
): string {
  const { task, run, name, sha256, contentType } = words
  const labels = Object.entries(words.labels).sort(([one], [other]) => (one < other ? -1 : 1))
  return JSON.stringify([task, run, name, sha256, contentType, labels])
}

function idInUse({ request }: Item): ArtifactError {
  return new ArtifactError(
    'upload_conflict',
    `Cannot seal ${request.name}: the id ${request.id} is in use`,
    { expected: 'an id that stands for nothing else', found: referenceOf(request) },
  )
}

async function settle(seal: Promise<Artifact> | undefined): Promise<Outcome> {
  if (seal === undefined) throw new Error('An artifact of the batch was lost')
  try {
    return { outcome: 'sealed', artifact: await seal }
  } catch (error) {
    const problem = toDatabaseProblem(error)
    if (problem instanceof ArtifactError) return refused(problem)
    throw error
  }
}

/** Waits for all, even when one of them throws: what is under way is not left alone. */
async function all<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises)
  return Promise.all(promises)
}

function refused(error: ArtifactError): Outcome {
  return { outcome: 'refused', problem: formatProblem(error) }
}

function attempt(action: () => ReadItem): ReadItem | ArtifactError {
  try {
    return action()
  } catch (error) {
    if (error instanceof ArtifactError) return error
    throw error
  }
}
