/**
 * What an S3 store really does. Documentation cannot prove it and versions differ, so a server asks
 * the store itself when it starts: it sends what must be refused, and looks at what was kept.
 *
 * Everything happens below `probe/<uuid>` and is removed again.
 */
import { createHash, randomUUID } from 'node:crypto'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Grant } from '../../schemas/upload.ts'
import type { S3Bucket } from './s3-bucket.ts'
import { abortUpload, completeUpload, createUpload, listUploadParts } from './s3-multipart.ts'
import { headObject, headObjectStatus, removeObject } from './s3-objects.ts'
import type { PutOptions, S3Signer } from './s3-signing.ts'
import type { StoreCapabilities } from './store.ts'

export interface ProbeReport {
  capabilities: StoreCapabilities
  /** A missing object answers 403 instead of 404: the credentials may not list the bucket. */
  missingIsForbidden: boolean
}

// Of one length, so that only their digests tell them apart.
const GOOD = Buffer.from('artifact probe: the right bytes\n')
const EVIL = Buffer.from('artifact probe: the wrong bytes\n')
const TTL_SECONDS = 300
const TIMEOUT_MS = 30_000
const CONTENT_TYPE = 'application/octet-stream'

/** What the probe leaves behind until it cleans up. */
interface Traces {
  keys: string[]
  uploads: { key: string; uploadId: string }[]
}

interface Probe {
  bucket: S3Bucket
  signer: S3Signer
  traces: Traces
  /** A fresh key of this probe. */
  allot(): string
}

/**
 * Probes a bucket. Throws `store_unfit` when it takes wrong bytes or a wrong signature,
 * `configuration` when it refuses what it must take, `store_unavailable` when it does not answer.
 */
export async function probeStore(bucket: S3Bucket, signer: S3Signer): Promise<ProbeReport> {
  const traces: Traces = { keys: [], uploads: [] }
  const folder = `probe/${randomUUID()}`
  const allot = () => {
    const key = `${folder}/${traces.keys.length}`
    traces.keys.push(key)
    return key
  }
  const probe: Probe = { bucket, signer, traces, allot }
  try {
    const missingIsForbidden = await probeMissing(probe)
    const held = await putGood(probe)
    const accepted = [
      ...(await findWrongBytesTaken(probe)),
      ...(await findWrongPartTaken(probe)),
      ...(await findWrongSignatureTaken(probe)),
    ]
    if (accepted.length > 0) throw unfit(accepted)
    const capabilities: StoreCapabilities = {
      refusesWrongBytes: true,
      refusesWrongSignature: true,
      conditionalPut: await refusesPutOver(probe, held),
      conditionalComplete: await refusesCompleteOver(probe, held),
      keepsSha256: await keepsSha256(probe),
    }
    return { capabilities, missingIsForbidden }
  } finally {
    await cleanUp(bucket, traces)
  }
}

async function probeMissing({ bucket, allot }: Probe): Promise<boolean> {
  return (await headObjectStatus(bucket, allot())) === 403
}

/** The first write tells whether address, credentials and clock are right at all. */
async function putGood(probe: Probe): Promise<string> {
  const key = probe.allot()
  const reply = await put(probe, key, GOOD, GOOD, {})
  if (reply.ok) return key
  throw new ArtifactError(
    'configuration',
    'Cannot use the S3 store: it refuses a request that is right',
    { expected: '200', found: `${reply.status} ${await codeOf(reply)}` },
  )
}

async function findWrongBytesTaken(probe: Probe): Promise<string[]> {
  const key = probe.allot()
  const reply = await put(probe, key, GOOD, EVIL, {})
  const isKept = reply.ok || (await headObjectStatus(probe.bucket, key)) === 200
  return isKept ? ['an object whose bytes differ from the signed x-amz-content-sha256'] : []
}

async function findWrongPartTaken(probe: Probe): Promise<string[]> {
  const { key, uploadId } = await beginUpload(probe, false)
  const reply = await put(probe, key, GOOD, EVIL, { uploadId })
  const listed = await listUploadParts(probe.bucket, key, uploadId)
  const isKept = reply.ok || (listed?.size ?? 0) > 0
  return isKept ? ['a part whose bytes differ from the signed x-amz-content-sha256'] : []
}

async function findWrongSignatureTaken(probe: Probe): Promise<string[]> {
  const key = probe.allot()
  const grant = await sign(probe, key, GOOD, {})
  const { authorization = '' } = grant.headers
  const digit = authorization.endsWith('0') ? '1' : '0'
  const forged = { ...grant.headers, authorization: authorization.slice(0, -1) + digit }
  const reply = await send({ ...grant, headers: forged }, GOOD)
  return reply.ok ? ['a request with a wrong signature'] : []
}

async function refusesPutOver(probe: Probe, held: string): Promise<boolean> {
  const before = await headObject(probe.bucket, held)
  const reply = await put(probe, held, EVIL, EVIL, { ifAbsent: true })
  const after = await headObject(probe.bucket, held)
  return !reply.ok && before?.tag === after?.tag
}

async function refusesCompleteOver(probe: Probe, held: string): Promise<boolean> {
  const { bucket, traces } = probe
  const uploadId = await createUpload(bucket, held, CONTENT_TYPE, false)
  traces.uploads.push({ key: held, uploadId })
  const before = await headObject(bucket, held)
  await put(probe, held, EVIL, EVIL, { uploadId })
  const etag = (await listUploadParts(bucket, held, uploadId))?.get(1)?.etag
  if (etag === undefined) return false
  const outcome = await completeUpload(bucket, held, uploadId, {
    parts: [{ ...partOf(EVIL), etag }],
    sizeBytes: BigInt(EVIL.length),
    conditional: true,
    withChecksums: false,
  })
    // A store that does not know the header may answer with any error: it is no guard then.
    .catch(() => 'failed' as const)
  const after = await headObject(bucket, held)
  return outcome === 'exists' && before?.tag === after?.tag
}

async function keepsSha256(probe: Probe): Promise<boolean> {
  // A store without checksums may refuse the very word.
  const begun = await beginUpload(probe, true).catch(() => undefined)
  if (begun === undefined) return false
  const { key, uploadId } = begun
  const grant = await sign(probe, key, GOOD, { uploadId, withChecksum: true })
  const reply = await send(grant, GOOD)
  const listed = await listUploadParts(probe.bucket, key, uploadId)
  return reply.ok && listed?.get(1)?.sha256 === partOf(GOOD).sha256
}

async function beginUpload(probe: Probe, withChecksums: boolean) {
  const key = probe.allot()
  const uploadId = await createUpload(probe.bucket, key, CONTENT_TYPE, withChecksums)
  probe.traces.uploads.push({ key, uploadId })
  return { key, uploadId }
}

/** Signs for `claimed` and sends `sent`. */
async function put(
  probe: Probe,
  key: string,
  claimed: Buffer,
  sent: Buffer,
  options: Partial<PutOptions>,
): Promise<Response> {
  return send(await sign(probe, key, claimed, options), sent)
}

function sign(
  { signer }: Probe,
  key: string,
  claimed: Buffer,
  options: Partial<PutOptions>,
): Promise<Grant> {
  const whole = { ifAbsent: false, withChecksum: false, ...options }
  return signer.signPut(key, partOf(claimed), whole, TTL_SECONDS)
}

async function send(grant: Grant, body: Buffer): Promise<Response> {
  // fetch writes the length itself, and would write it twice.
  const { 'content-length': _, ...headers } = grant.headers
  try {
    return await fetch(grant.url, {
      method: grant.method,
      headers,
      body: new Uint8Array(body),
      redirect: 'manual',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
  } catch (cause) {
    throw new ArtifactError('store_unavailable', 'Cannot probe the S3 store: it does not answer', {
      cause,
    })
  }
}

function partOf(bytes: Buffer) {
  return {
    number: 1,
    sizeBytes: bytes.length,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  }
}

/** S3's code in an error document, for the operator to read. */
async function codeOf(reply: Response): Promise<string> {
  const text = (await reply.text()).slice(0, 10_000)
  return /<Code>([A-Za-z0-9.]{1,100})<\/Code>/.exec(text)?.[1] ?? ''
}

async function cleanUp(bucket: S3Bucket, traces: Traces): Promise<void> {
  const removals = [
    ...traces.uploads.map(({ key, uploadId }) => abortUpload(bucket, key, uploadId)),
    ...traces.keys.map((key) => removeObject(bucket, key)),
  ]
  // A bucket may well forbid to delete; a few bytes that stay are no reason to refuse it.
  await Promise.allSettled(removals)
}

function unfit(accepted: readonly string[]): ArtifactError {
  return new ArtifactError(
    'store_unfit',
    `Cannot use the S3 store: it accepted ${accepted.join(' and ')}`,
    { expected: 'a refusal', found: accepted.join('; ') },
  )
}
