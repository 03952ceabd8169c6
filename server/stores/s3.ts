/**
 * The S3 store. Bytes go from the client to the bucket and back without passing this server, which
 * only signs what may be sent. Small blobs that came through it share objects (`object-packs.ts`).
 *
 * An object that fits one part is one PUT that must not overwrite (`single`), if the store can do
 * that; everything else is a multipart upload (`multipart:<upload id>`). The key is new for every
 * upload and only this server completes, so no grant can change what has been completed.
 */
import type { Part } from '../../schemas/artifact.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Clock } from '../clock.ts'
import { splitBlobKey } from './blob-key.ts'
import { createHashThreads, type HashThreadSettings } from './hash-threads.ts'
import type { AheadSettings } from './long-read.ts'
import { describeObjectThread, type ObjectToHash } from './object-hash.ts'
import { createObjectPacks, type ObjectPacks } from './object-packs.ts'
import type { PackBook } from './pack-census.ts'
import { isPackedTag } from './pack-index.ts'
import type { Objects } from './pack-objects.ts'
import type { RebuildOptions, RebuildReport } from './pack-rebuild.ts'
import { checkPartList, checkPartsHeld, sessionEnded } from './part-list.ts'
import { type ProbeReport, probeStore } from './probe.ts'
import { openS3Bucket, type S3Bucket, type S3BucketOptions } from './s3-bucket.ts'
import { abortUpload, completeUpload, createUpload, listUploadParts } from './s3-multipart.ts'
import {
  headBucketStatus,
  headObject,
  headObjectStatus,
  listObjects,
  putObject,
  removeObject,
} from './s3-objects.ts'
import { createObjectReader, type ReadObject } from './s3-read.ts'
import { createS3Signer } from './s3-signing.ts'
import {
  type Blob,
  type BlobSession,
  type HeldPart,
  type ReadOptions,
  type Store,
  WHOLE_SESSION,
} from './store.ts'

export interface S3StoreOptions extends S3BucketOptions {
  clock: Clock
  /** Where blobs lie that share an object; all servers of a bucket have the same. */
  packs: PackBook
  /** When and how far long reads run ahead [where one stream is slow]. */
  ahead?: Partial<AheadSettings> | undefined
  /** When and how large objects are hashed by threads of their own. */
  threads?: Partial<HashThreadSettings> | undefined
}

export interface S3Store extends Store {
  readonly kind: 's3'
  /** Makes the index of packs agree with the bucket; what it throws says `rebuildPacks`. */
  rebuildIndex(options: RebuildOptions): Promise<RebuildReport>
}

const MIB = 1024 ** 2
const SINGLE = WHOLE_SESSION
const PACK_TYPE = 'application/octet-stream'
const MULTIPART = 'multipart:'

/**
 * Opens a bucket and probes it. Throws `store_unfit` when it accepts what it must refuse,
 * `configuration` or `store_unavailable` when it cannot be used at all.
 */
export async function openS3Store(options: S3StoreOptions): Promise<S3Store> {
  await using stack = new AsyncDisposableStack()
  const bucket = stack.use(openS3Bucket(options))
  const report = await probeStore(bucket, createS3Signer(bucket, options.clock))
  stack.move()
  return createS3Store({ bucket, ...report }, options)
}

/** A bucket and what the probe found out about it. */
interface ProbedBucket extends ProbeReport {
  bucket: S3Bucket
}

function createS3Store(probed: ProbedBucket, options: S3StoreOptions): S3Store {
  const { bucket, capabilities } = probed
  const { clock } = options
  const signer = createS3Signer(bucket, clock)
  const readObject = createObjectReader(bucket, signer, options.ahead)
  const threads = createHashThreads<ObjectToHash>(
    describeObjectThread(signer, bucket.pace, options.ahead),
    options.threads,
  )
  const packs = createObjectPacks(describeObjects(probed, readObject), options.packs)
  const withChecksum = capabilities.keepsSha256
  return {
    kind: 's3',
    limits: { partSizeMinBytes: 5 * MIB, partSizeMaxBytes: 5 * 1024 * MIB },
    capabilities,

    async begin({ key, sizeBytes, partSizeBytes, contentType }) {
      splitBlobKey(key)
      const isSmall = sizeBytes !== undefined && sizeBytes <= BigInt(partSizeBytes)
      if (isSmall && capabilities.conditionalPut) return SINGLE
      return MULTIPART + (await createUpload(bucket, key, contentType, withChecksum))
    },

    grantPart({ key, session, contentType }, part, ttlSeconds) {
      const uploadId = parseSession(session)
      const options =
        uploadId === undefined
          ? { ifAbsent: true, withChecksum, contentType }
          : { uploadId, ifAbsent: false, withChecksum }
      return signer.signPut(key, part, options, ttlSeconds)
    },

    listParts: (session) => listParts(probed, packs, session),
    complete: (session, parts) => completeObject(probed, packs, session, parts),

    async put(plan, bytes) {
      splitBlobKey(plan.key)
      return packs.put(plan, bytes)
    },

    async discard({ key, session }) {
      const uploadId = parseSession(session)
      // What came in parts is in no pack.
      if (uploadId === undefined) return packs.remove(key)
      await abortUpload(bucket, key, uploadId)
      await removeObject(bucket, key)
    },

    stat: (key) => statBlob(probed, packs, key),

    read: (key, tag, options) =>
      isPackedTag(tag) ? readPacked(packs, key, tag, options) : readObject(key, tag, options),

    async digest(key, tag, { expectedBytes, ...listener }) {
      if (isPackedTag(tag) || !threads.takes(expectedBytes)) return undefined
      const found = await threads.hash({ key, tag }, listener)
      return found && { ...found, sizeBytes: BigInt(found.sizeBytes) }
    },

    async grantRead(key, tag, options) {
      if (!isPackedTag(tag)) return signer.signGet(key, tag, options)
      const own = await packs.giveOwn({ key, contentType: options.contentType }, tag)
      return signer.signGet(key, own, options)
    },

    handsOver: isPackedTag,
    tidy: packs.tidy,
    rebuildIndex: packs.rebuild,
    check: (signal) => checkBucket(probed, signal),

    async [Symbol.asyncDispose]() {
      await threads[Symbol.asyncDispose]()
      await bucket[Symbol.asyncDispose]()
    },
  }
}

/** What packs do with the bucket. */
function describeObjects(probed: ProbedBucket, readObject: ReadObject): Objects {
  const { bucket, capabilities } = probed
  const putNew: Objects['putNew'] = ({ key, contentType }, bytes) =>
    putObject(bucket, key, bytes, contentType, capabilities.conditionalPut)
  return {
    async put(key, bytes) {
      await putObject(bucket, key, bytes, PACK_TYPE, false)
    },
    putNew,
    async putAlone(plan, bytes) {
      const blob = (await putNew(plan, bytes)) ?? (await statObject(probed, plan.key))
      if (blob === undefined) throw sessionEnded(plan.key)
      return blob
    },
    read: (key, range) => readObject(key, undefined, range),
    stat: (key) => statObject(probed, key),
    list: (beginning, signal) => listObjects(bucket, beginning, signal),
    remove: (key) => removeObject(bucket, key),
  }
}

/** The multipart upload id of a session; `undefined` for one that has none. */
function parseSession(session: string): string | undefined {
  return session.startsWith(MULTIPART) ? session.slice(MULTIPART.length) : undefined
}

async function checkBucket(
  { bucket, missingIsForbidden }: ProbedBucket,
  signal: AbortSignal | undefined,
): Promise<void> {
  let status = await headBucketStatus(bucket, signal)
  // Who may not list a bucket may not look at it either; an object that is not there tells then.
  if (status === 403) {
    const expected = missingIsForbidden ? 403 : 404
    if ((await headObjectStatus(bucket, 'probe/nothing')) === expected) status = 200
  }
  if (status === 200) return
  throw new ArtifactError(
    'store_unavailable',
    `Cannot use bucket ${bucket.name}: the store answers ${status}`,
    { expected: '200', found: String(status) },
  )
}

async function statBlob(
  probed: ProbedBucket,
  packs: ObjectPacks,
  key: string,
): Promise<Blob | undefined> {
  splitBlobKey(key)
  const place = await packs.find(key)
  // One that has an object of its own besides is known by its place all the same.
  return place === undefined ? statObject(probed, key) : packs.stat(place)
}

async function statObject(
  { bucket, missingIsForbidden }: ProbedBucket,
  key: string,
): Promise<Blob | undefined> {
  if (missingIsForbidden && (await headObjectStatus(bucket, key)) === 403) return undefined
  return headObject(bucket, key)
}

async function listParts(
  probed: ProbedBucket,
  packs: ObjectPacks,
  { key, session }: BlobSession,
): Promise<HeldPart[]> {
  const uploadId = parseSession(session)
  if (uploadId === undefined) {
    const blob = await statBlob(probed, packs, key)
    return blob === undefined ? [] : [{ number: 1, sizeBytes: Number(blob.sizeBytes) }]
  }
  const parts = await listUploadParts(probed.bucket, key, uploadId)
  return [...(parts ?? [])]
    .map(([number, { sizeBytes }]) => ({ number, sizeBytes }))
    .sort((one, other) => one.number - other.number)
}

async function completeObject(
  probed: ProbedBucket,
  packs: ObjectPacks,
  session: BlobSession,
  parts: readonly Part[],
): Promise<Blob> {
  const sizeBytes = checkPartList(session, parts)
  const { key } = session
  splitBlobKey(key)
  const uploadId = parseSession(session.session)
  // What came in parts is in no pack.
  const look = () =>
    uploadId === undefined ? statBlob(probed, packs, key) : statObject(probed, key)
  // One that exists is looked at afterwards, like every other.
  if (parts.length === 0) {
    if ((await look()) === undefined) await putEmpty(probed, session)
    if (uploadId !== undefined) await abortUpload(probed.bucket, key, uploadId)
  } else if (uploadId !== undefined) await joinParts(probed, session, uploadId, parts, sizeBytes)
  return checkCompleted(session, parts, sizeBytes, await look())
}

/** A stream that turned out to be empty: S3 completes no upload without parts. */
async function putEmpty(
  { bucket, capabilities }: ProbedBucket,
  { key, contentType }: BlobSession,
): Promise<void> {
  await putObject(bucket, key, new Uint8Array(), contentType, capabilities.conditionalPut)
}

async function joinParts(
  { bucket, capabilities }: ProbedBucket,
  { key }: BlobSession,
  uploadId: string,
  parts: readonly Part[],
  sizeBytes: bigint,
): Promise<void> {
  const held = await listUploadParts(bucket, key, uploadId)
  // Completed before, and the reply was lost; or let go: the object tells.
  if (held === undefined) return
  checkPartsHeld(key, parts, held)
  await completeUpload(bucket, key, uploadId, {
    parts: parts.map((part) => ({ ...part, etag: held.get(part.number)?.etag ?? '' })),
    sizeBytes,
    conditional: capabilities.conditionalComplete,
    withChecksums: capabilities.keepsSha256,
  })
}

/** The last word has the object itself, whichever way it came to be. */
function checkCompleted(
  { key, session }: BlobSession,
  parts: readonly Part[],
  sizeBytes: bigint,
  blob: Blob | undefined,
): Blob {
  if (blob === undefined) {
    if (parseSession(session) !== undefined) throw sessionEnded(key)
    throw new ArtifactError('part_missing', `Cannot complete ${key}: a part is missing`, {
      expected: `part 1, sha256 ${parts[0]?.sha256}`,
      found: '0 of 1 parts',
    })
  }
  if (blob.sizeBytes !== sizeBytes)
    throw new ArtifactError(
      'size_mismatch',
      `Cannot complete ${key}: the object has another size`,
      { expected: `${sizeBytes} bytes`, found: `${blob.sizeBytes} bytes` },
    )
  return blob
}

async function* readPacked(
  packs: ObjectPacks,
  key: string,
  tag: string,
  { start = 0n, end, signal }: ReadOptions = {},
): AsyncGenerator<Uint8Array> {
  signal?.throwIfAborted()
  const bytes = await packs.read(key, tag)
  signal?.throwIfAborted()
  yield bytes.subarray(Number(start), end === undefined ? bytes.length : Number(end))
}
