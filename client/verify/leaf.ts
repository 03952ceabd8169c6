/**
 * Leaves: what the log says, as bytes. One line per fact, in this order, each ended by a line feed;
 * there is one spelling for each leaf, so that equal facts have equal hashes.
 *
 *     leaf     = seal / remove / revoke
 *     seal     = "artifact-log/v1 seal" LF "name " name LF "sha256 " sha256 LF "size " decimal LF
 *                "parts " decimal " " sha256 LF "type " media-type LF "labels " sha256 LF
 *                "policy " ("reread" / "parts") LF "time " time LF "by " uuid LF
 *     remove   = "artifact-log/v1 remove" LF removal     ; the blob is gone, the record stands
 *     revoke   = "artifact-log/v1 revoke" LF removal     ; do not use this artifact any more
 *     removal  = "name " name LF "of " decimal LF "reason " reason LF "time " time LF
 *                "by " (uuid / "server") LF              ; "of": the index of the seal leaf
 *     name     = task "/" run "/" artifact name          ; UTF-8, neither folded nor normalised
 *     sha256   = 64 lower-case hexadecimal digits
 *     time     = YYYY-MM-DDThh:mm:ss.sssZ
 *     reason   = 1 to 512 bytes of UTF-8 without control characters
 *
 * `parts` has the part size in bytes and the SHA-256 of the raw part digests, one after the other;
 * `labels` the SHA-256 of key NUL value NUL for every label, keys in the order of their bytes.
 * For example:
 *
 *     artifact-log/v1 seal
 *     name turtle-db/7/db.dump
 *     sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
 *     size 3
 *     parts 16777216 4f8b42c22dd3729b519ba6f68d2da7cc5b2d606d05daed5ad5128cc03e6c6358
 *     type application/octet-stream
 *     labels e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
 *     policy reread
 *     time 2026-11-21T22:16:58.123Z
 *     by 3f2c8f0e-5d1b-4c55-9a83-0f3f6f1f2a10
 *
 * whose leaf hash is the SHA-256 of a zero byte and these bytes.
 */
import { createHash } from 'node:crypto'
import type { Artifact, Part } from '../../schemas/artifact.ts'
import {
  ArtifactName,
  ByteCount,
  ContentType,
  PartSizeBytes,
  RUN_MAX,
  SealPolicy,
  TaskName,
} from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { decodeText, parseDecimal } from './strict-text.ts'

/** Longest leaf: its length is a 16-bit number in a bundle of entries. */
export const LEAF_BYTES_MAX = 65_535
const REASON_BYTES_MAX = 512

/** An artifact was sealed. */
export interface SealLeaf {
  kind: 'seal'
  /** `task/run/name`. */
  name: string
  sha256: string
  /** Decimal. */
  sizeBytes: string
  partSizeBytes: number
  /** SHA-256 of the raw part digests, one after the other. */
  partsSha256: string
  contentType: string
  /** SHA-256 of {@link formatLabels}. */
  labelsSha256: string
  policy: SealPolicy
  /** RFC 3339 in UTC with milliseconds. */
  time: string
  /** Id of the token. */
  by: string
}

/** The blob of an artifact was removed, or the artifact was revoked. */
export interface RemovalLeaf {
  kind: 'remove' | 'revoke'
  name: string
  /** Index of the seal leaf. */
  of: number
  reason: string
  time: string
  /** Id of a token, or `server`. */
  by: string
}

export type Leaf = SealLeaf | RemovalLeaf

/** The bytes of a leaf; throws `log_record` for a value that has no spelling in a leaf. */
export function formatLeaf(leaf: Leaf): Uint8Array {
  const text = spell(leaf)
  const bytes = Buffer.from(text)
  // A line feed that slips into a value would be another fact: only what reads back is written.
  const back = readLeaf(bytes)
  if (back !== undefined && spell(back) === text) return bytes
  throw new ArtifactError(
    'log_record',
    `Cannot log ${JSON.stringify(leaf.name)}: a value is not fit`,
    {
      expected: 'values as the grammar of leaves has them',
      found: JSON.stringify(leaf).slice(0, 500),
    },
  )
}

/** The inverse of {@link formatLeaf}; throws `log_malformed`. */
export function parseLeaf(bytes: Uint8Array): Leaf {
  const leaf = readLeaf(bytes)
  if (leaf !== undefined) return leaf
  throw new ArtifactError(
    'log_malformed',
    'Cannot read the leaf: it is none that this version knows',
    {
      expected: 'artifact-log/v1 seal, remove or revoke',
      found: JSON.stringify(Buffer.from(bytes.subarray(0, 200)).toString()),
    },
  )
}

/** Reads a leaf that must be a seal; throws `log_malformed`, or `log_record` for another kind. */
export function parseSealLeaf(bytes: Uint8Array): SealLeaf {
  const leaf = parseLeaf(bytes)
  if (leaf.kind === 'seal') return leaf
  throw mismatch(leaf.name, 'kind', 'seal', leaf.kind)
}

/** The leaf that says of an artifact what its record says. */
export function leafOfArtifact(
  artifact: Artifact,
  parts: readonly Pick<Part, 'sha256'>[],
): SealLeaf {
  return {
    kind: 'seal',
    name: `${artifact.task}/${artifact.run}/${artifact.name}`,
    sha256: artifact.sha256,
    sizeBytes: artifact.sizeBytes,
    partSizeBytes: artifact.partSizeBytes,
    partsSha256: digestParts(parts),
    contentType: artifact.contentType,
    labelsSha256: createHash('sha256').update(formatLabels(artifact.labels)).digest('hex'),
    policy: artifact.policy,
    time: artifact.sealedAt,
    by: artifact.sealedBy.tokenId,
  }
}

/**
 * Throws `log_record` for the first fact on which leaf and record differ: expected is what the leaf
 * says. Not logged, and so not checked: the upload id, when it was opened, the name of the token.
 */
export function checkLeaf(
  leaf: Leaf,
  artifact: Artifact,
  parts: readonly Pick<Part, 'sha256'>[],
): void {
  checkLeafRecord(leaf, artifact)
  const found = digestParts(parts)
  if (leaf.kind === 'seal' && leaf.partsSha256 !== found)
    throw mismatch(leaf.name, 'part digests', leaf.partsSha256, found)
}

/** As {@link checkLeaf}, without the part digests. */
export function checkLeafRecord(leaf: Leaf, artifact: Artifact): void {
  if (leaf.kind !== 'seal') throw mismatch(leaf.name, 'kind', 'seal', leaf.kind)
  const found = { ...leafOfArtifact(artifact, []), partsSha256: leaf.partsSha256 }
  for (const [fact, of] of FACTS) {
    if (of(leaf) !== of(found)) throw mismatch(leaf.name, fact, of(leaf), of(found))
  }
  if (artifact.reference !== leaf.name)
    throw mismatch(leaf.name, 'reference', leaf.name, artifact.reference)
}

/** Labels as the bytes that a leaf has the digest of. Neither keys nor values can hold a NUL. */
export function formatLabels(labels: Readonly<Record<string, string>>): Uint8Array {
  // Keys are ASCII, so the order of code units is that of bytes.
  const keys = Object.keys(labels).sort()
  return Buffer.from(keys.map((key) => `${key}\0${labels[key]}\0`).join(''))
}

/** SHA-256 of the raw part digests, one after the other, in hexadecimal. */
export function digestParts(parts: readonly Pick<Part, 'sha256'>[]): string {
  const whole = createHash('sha256')
  for (const { sha256 } of parts) whole.update(sha256, 'hex')
  return whole.digest('hex')
}

const FACTS: readonly (readonly [fact: string, of: (leaf: SealLeaf) => string])[] = [
  ['name', (leaf) => leaf.name],
  ['sha256', (leaf) => leaf.sha256],
  ['size', (leaf) => leaf.sizeBytes],
  ['part size', (leaf) => String(leaf.partSizeBytes)],
  ['type', (leaf) => leaf.contentType],
  ['labels', (leaf) => leaf.labelsSha256],
  ['policy', (leaf) => leaf.policy],
  ['time', (leaf) => leaf.time],
  ['token', (leaf) => leaf.by],
]

function spell(leaf: Leaf): string {
  const head = `artifact-log/v1 ${leaf.kind}\nname ${leaf.name}\n`
  const tail = `time ${leaf.time}\nby ${leaf.by}\n`
  if (leaf.kind !== 'seal') return `${head}of ${leaf.of}\nreason ${leaf.reason}\n${tail}`
  const { sha256, sizeBytes, partSizeBytes, partsSha256, contentType, labelsSha256, policy } = leaf
  return [
    head,
    `sha256 ${sha256}\nsize ${sizeBytes}\nparts ${partSizeBytes} ${partsSha256}\n`,
    `type ${contentType}\nlabels ${labelsSha256}\npolicy ${policy}\n`,
    tail,
  ].join('')
}

const DIGEST = '[0-9a-f]{64}'
const UUID = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'
const TIME = '[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z'
const SEAL = new RegExp(
  `^artifact-log/v1 seal\nname ([^\n]+)\nsha256 (${DIGEST})\nsize ([0-9]+)\nparts ([0-9]+) (${DIGEST})\n` +
    `type ([^\n]+)\nlabels (${DIGEST})\npolicy (reread|parts)\ntime (${TIME})\nby (${UUID})\n$`,
)
const REMOVAL = new RegExp(
  '^artifact-log/v1 (remove|revoke)\nname ([^\n]+)\nof ([0-9]+)\nreason ([^\n]+)\n' +
    `time (${TIME})\nby (${UUID}|server)\n$`,
)

function readLeaf(bytes: Uint8Array): Leaf | undefined {
  const text = bytes.length > LEAF_BYTES_MAX ? undefined : decodeText(bytes)
  if (text === undefined) return undefined
  const leaf = readSeal(text) ?? readRemoval(text)
  return leaf !== undefined && isLogName(leaf.name) && isTime(leaf.time) ? leaf : undefined
}

function readSeal(text: string): SealLeaf | undefined {
  const match = SEAL.exec(text)
  if (match === null) return undefined
  const [, name = '', sha256 = '', size = '', partSize = '', partsSha256 = ''] = match
  const [contentType = '', labelsSha256 = '', policy = '', time = '', by = ''] = match.slice(6)
  const sizeBytes = ByteCount.safeParse(size)
  const partSizeBytes = PartSizeBytes.safeParse(parseDecimal(partSize))
  const type = ContentType.safeParse(contentType)
  const sealPolicy = SealPolicy.safeParse(policy)
  if (!sizeBytes.success || !partSizeBytes.success || !type.success || !sealPolicy.success)
    return undefined
  return {
    kind: 'seal',
    name,
    sha256,
    sizeBytes: sizeBytes.data,
    partSizeBytes: partSizeBytes.data,
    partsSha256,
    contentType,
    labelsSha256,
    policy: sealPolicy.data,
    time,
    by,
  }
}

function readRemoval(text: string): RemovalLeaf | undefined {
  const match = REMOVAL.exec(text)
  if (match === null) return undefined
  const [, kind, name = '', index = '', reason = '', time = '', by = ''] = match
  const of = parseDecimal(index)
  const isReason = Buffer.byteLength(reason) <= REASON_BYTES_MAX && !/\p{Cc}/u.test(reason)
  if (of === undefined || !isReason) return undefined
  return { kind: kind === 'remove' ? 'remove' : 'revoke', name, of, reason, time, by }
}

function isLogName(name: string): boolean {
  const [task, run = '', ...rest] = name.split('/')
  const number = parseDecimal(run)
  return (
    TaskName.safeParse(task).success &&
    number !== undefined &&
    number <= RUN_MAX &&
    ArtifactName.safeParse(rest.join('/')).success
  )
}

/** Whether it is a moment that exists, in its one spelling: there is no 30 February. */
function isTime(time: string): boolean {
  const date = new Date(time)
  return !Number.isNaN(date.getTime()) && date.toISOString() === time
}

function mismatch(name: string, fact: string, expected: string, found: string): ArtifactError {
  return new ArtifactError(
    'log_record',
    `Cannot accept ${JSON.stringify(name)}: the ${fact} of its record is not what the log says`,
    { expected, found },
  )
}
