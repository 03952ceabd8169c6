/**
 * Many small artifacts in one request, for tools that seal thousands: the bytes come with the claim,
 * so opening, sending and sealing are one step, and all share one transaction where they can.
 */
import { createHash, randomUUID } from 'node:crypto'
import pLimit from 'p-limit'
import type { Artifact } from '../../schemas/artifact.ts'
import type { SealedBatch, SmallArtifact } from '../../schemas/batch.ts'
import { ArtifactError, formatProblem } from '../../schemas/problems.ts'
import { checkMayUpload, type Principal } from '../access/scopes.ts'
import { unauthenticated } from '../access/tokens.ts'
import { alreadySealed } from '../intake/open.ts'
import type { Intake } from '../intake/session.ts'
import type { Sequencer } from '../log/sequencer.ts'
import { findArtifact } from '../records/artifacts.ts'
import { ensureRuns } from '../records/tasks.ts'
import { insertVerifying, type NewVerifying } from '../records/upload-endings.ts'
import type { UploadRecord } from '../records/upload-row.ts'
import type { BlobPlan } from '../stores/store.ts'
import { type Claim, checkBytes } from './reread.ts'
import { LEASE_SECONDS, recordOf } from './seal.ts'

/** Objects that are stored at the same time. */
const STORE_CONCURRENCY = 16

type Outcome = SealedBatch['outcomes'][number]

interface Item {
  request: SmallArtifact
  bytes: Buffer
  claim: Claim
}

/** Seals what can be sealed; never throws for one of many. The outcomes are in the order of the request. */
export async function sealBatch(
  intake: Intake,
  sequencer: Sequencer,
  principal: Principal,
  requests: readonly SmallArtifact[],
): Promise<SealedBatch> {
  const { token } = principal
  if (token === undefined) throw unauthenticated()
  const items = requests.map((request) => attempt(() => readItem(principal, request)))
  const good = items.filter((item): item is Item => !(item instanceof ArtifactError))
  const holder = randomUUID()
  const uploads = await openAll(intake, token, good, holder)
  const limit = pLimit(STORE_CONCURRENCY)
  const outcomes = await Promise.all(
    items.map(async (item): Promise<Outcome> => {
      if (item instanceof ArtifactError) return refused(item)
      try {
        const upload = uploads.get(item.request.id)
        const artifact =
          upload === undefined
            ? await findKnown(intake, item)
            : await sealItem(intake, sequencer, upload, item, holder, limit)
        return { outcome: 'sealed', artifact }
      } catch (error) {
        if (error instanceof ArtifactError) return refused(error)
        throw error
      }
    }),
  )
  return { outcomes }
}

function readItem(principal: Principal, request: SmallArtifact): Item {
  checkMayUpload(principal, request.task, request.name)
  const bytes = Buffer.from(request.content, 'base64')
  const found = createHash('sha256').update(bytes).digest('hex')
  if (found !== request.sha256)
    throw new ArtifactError('digest_mismatch', `Cannot seal ${request.name}: the SHA-256 differs`, {
      expected: request.sha256,
      found,
    })
  const parts = bytes.length === 0 ? [] : [{ number: 1, sizeBytes: bytes.length, sha256: found }]
  return { request, bytes, claim: { sha256: found, sizeBytes: BigInt(bytes.length), parts } }
}

/** The uploads that are new, by id, already in the state that a seal leaves when it is broken off. */
async function openAll(
  intake: Intake,
  token: { id: string; name: string },
  items: readonly Item[],
  holder: string,
): Promise<Map<string, UploadRecord>> {
  if (items.length === 0) return new Map()
  const { sql, clock, settings, store } = intake
  const openedAt = clock()
  await ensureRuns(
    sql,
    items.map(({ request }) => request),
  )
  const partSizeBytes = Math.max(settings.partSizeBytes, store.limits.partSizeMinBytes, 65_536)
  const uploads = items.map(
    ({ request, claim }): NewVerifying => ({
      request,
      claim,
      partSizeBytes,
      policy: settings.policy,
      blobKey: `blobs/${request.id.slice(0, 2)}/${request.id}`,
      tokenId: token.id,
      tokenName: token.name,
      openedAt,
      expiresAt: new Date(openedAt.getTime() + settings.uploadTtlSeconds * 1000),
      holder,
      leaseUntil: new Date(openedAt.getTime() + LEASE_SECONDS * 1000),
    }),
  )
  const records = await insertVerifying(sql, uploads)
  return new Map(records.map((record) => [record.id, record]))
}

async function sealItem(
  intake: Intake,
  sequencer: Sequencer,
  upload: UploadRecord,
  { bytes, claim }: Item,
  holder: string,
  limit: ReturnType<typeof pLimit>,
): Promise<Artifact> {
  const plan: BlobPlan = {
    key: upload.blobKey,
    sizeBytes: claim.sizeBytes,
    partSizeBytes: upload.partSizeBytes,
    contentType: upload.contentType,
  }
  const blob = await limit(async () => {
    const stored = await intake.store.put(plan, bytes)
    if (upload.policy === 'reread')
      await checkBytes(intake.store.read(upload.blobKey, stored.tag), claim, async () => undefined)
    return stored
  })
  return sequencer.seal({ artifact: recordOf(upload, claim, intake.store.kind, blob), holder })
}

/** An id that was used before: the same artifact is as good as sealed now. */
async function findKnown(intake: Intake, { request, claim }: Item): Promise<Artifact> {
  const { task, run, name } = request
  const artifact = (await findArtifact(intake.sql, task, run, name))?.artifact
  if (artifact === undefined)
    throw new ArtifactError(
      'upload_conflict',
      `Cannot seal ${name}: the id ${request.id} is in use`,
    )
  if (artifact.sha256 !== claim.sha256)
    throw alreadySealed(artifact, claim.sha256, String(claim.sizeBytes))
  return artifact
}

function refused(error: ArtifactError): Outcome {
  return { outcome: 'refused', problem: formatProblem(error) }
}

function attempt(action: () => Item): Item | ArtifactError {
  try {
    return action()
  } catch (error) {
    if (error instanceof ArtifactError) return error
    throw error
  }
}
