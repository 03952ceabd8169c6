/** Step 2: signed requests for parts. The first grant binds the digest of a part for good. */
import type { Part } from '../../schemas/artifact.ts'
import { countParts, rangeOfPart } from '../../schemas/part-plan.ts'
import { PARTS_MAX } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { PartGrant } from '../../schemas/upload.ts'
import type { UploadRecord } from '../records/upload-row.ts'
import { bindParts, touchUpload } from '../records/uploads.ts'
import type { BlobSession } from '../stores/store.ts'
import { ended, type Intake, openSession } from './session.ts'

/**
 * Grants for some parts of an open upload. Throws `upload_ended`, `limit_exceeded` or
 * `size_mismatch` for a part that the plan does not have, and `part_conflict` when a number is
 * bound to another digest: then nothing is granted.
 */
export async function grantParts(
  intake: Intake,
  record: UploadRecord,
  parts: readonly Part[],
): Promise<PartGrant[]> {
  if (record.state !== 'open') throw ended(record)
  checkParts(record, parts)
  const session = await openSession(intake, record)
  const bound = await bindParts(intake.sql, record.id, parts)
  checkBound(record, parts, bound)
  await keepAlive(intake, record)
  return signGrants(intake, session, parts)
}

/** A sign of life that is no older than this is as good as a new one: each costs a commit. */
const LIFE_SPACING_MS = 1000

async function keepAlive({ sql, clock, settings }: Intake, record: UploadRecord): Promise<void> {
  const now = clock()
  if (now.getTime() - record.movedAt.getTime() < LIFE_SPACING_MS) return
  const expiresAt = new Date(now.getTime() + settings.uploadTtlSeconds * 1000)
  await touchUpload(sql, record.id, now, expiresAt)
}

/** Grants for parts whose digests are bound. */
export async function signGrants(
  { store, settings }: Intake,
  session: BlobSession,
  parts: readonly Part[],
): Promise<PartGrant[]> {
  return Promise.all(
    parts.map(async (part) => ({
      number: part.number,
      ...(await store.grantPart(session, part, settings.grantTtlSeconds)),
    })),
  )
}

/** What the plan of an upload follows from. */
type Plan = Pick<UploadRecord, 'id' | 'sizeBytes' | 'partSizeBytes'>

/**
 * Throws `limit_exceeded` or `size_mismatch` for a part that the plan does not have, and
 * `invalid_request` for one that is named twice.
 */
export function checkParts(plan: Plan, parts: readonly Part[]): void {
  for (const part of parts) checkPart(plan, part)
  checkDistinct(parts)
}

function checkPart(record: Plan, part: Part): void {
  if (record.sizeBytes === undefined) {
    if (part.sizeBytes <= record.partSizeBytes) return
    throw wrongSize(record, part, `at most ${record.partSizeBytes} bytes`)
  }
  const count = countParts(record.sizeBytes, record.partSizeBytes)
  if (part.number > count)
    throw new ArtifactError(
      'limit_exceeded',
      `Cannot grant part ${part.number}: upload ${record.id} has ${count} parts`,
      { expected: `1 to ${Math.min(count, PARTS_MAX)}`, found: String(part.number) },
    )
  const range = rangeOfPart(record.sizeBytes, record.partSizeBytes, part.number)
  if (part.sizeBytes !== range.sizeBytes) throw wrongSize(record, part, `${range.sizeBytes} bytes`)
}

function wrongSize(record: Plan, part: Part, expected: string): ArtifactError {
  return new ArtifactError(
    'size_mismatch',
    `Cannot grant part ${part.number} of upload ${record.id}: it has another size`,
    { expected, found: `${part.sizeBytes} bytes` },
  )
}

function checkDistinct(parts: readonly Part[]): void {
  const numbers = parts.map((part) => part.number)
  const twice = numbers.find((number, index) => numbers.indexOf(number) !== index)
  if (twice !== undefined)
    throw new ArtifactError('invalid_request', `Cannot grant part ${twice}: it is named twice`, {
      expected: 'every part once',
      found: `part ${twice} twice`,
    })
}

function checkBound(record: UploadRecord, parts: readonly Part[], bound: readonly Part[]): void {
  const byNumber = new Map(bound.map((part) => [part.number, part]))
  for (const part of parts) {
    const known = byNumber.get(part.number)
    if (known?.sha256 === part.sha256 && known.sizeBytes === part.sizeBytes) continue
    throw new ArtifactError(
      'part_conflict',
      `Cannot grant part ${part.number} of upload ${record.id}: it is bound to another digest`,
      {
        expected: `sha256 ${known?.sha256}, ${known?.sizeBytes} bytes`,
        found: `sha256 ${part.sha256}, ${part.sizeBytes} bytes`,
      },
    )
  }
}
