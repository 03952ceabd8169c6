/**
 * The smallest words of the service: names, digests, sizes and times, each with its grammar.
 *
 * Wire forms and types are the same thing here: a value that crossed the wire is a plain string or
 * number that one of these schemas accepted.
 */
import { z } from 'zod'

/** Longest artifact name, in bytes of UTF-8. */
export const NAME_BYTES_MAX = 512
/** Highest run number; runs are `integer` in Postgres. */
export const RUN_MAX = 2_147_483_647
/** Highest part number, the limit of S3 (API reference, "Amazon S3 multipart upload limits"). */
export const PARTS_MAX = 10_000
/** Largest size the record can hold: `bigint` in Postgres, 2^63 - 1 bytes. */
export const SIZE_BYTES_MAX = 9_223_372_036_854_775_807n
/** Labels on one artifact. */
export const LABELS_MAX = 32
/** Longest label value, in bytes of UTF-8. */
export const LABEL_VALUE_BYTES_MAX = 1024
/**
 * All labels of an artifact as Postgres writes them, in bytes: JSON with a space after each colon and comma.
 * The record holds no more (`artifact.labels` in `sql/0001_sealed.sql`), and a quote or a control character
 * takes two to six bytes there.
 */
export const LABELS_BYTES_MAX = 65_536

/** SHA-256 as 64 lower-case hexadecimal digits (FIPS 180-4). */
export const Sha256 = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'expected 64 lower-case hexadecimal digits')
  .meta({ id: 'Sha256', description: 'SHA-256, 64 lower-case hexadecimal digits' })
export type Sha256 = z.infer<typeof Sha256>

/**
 * A count of bytes, 0 to 2^63 - 1, as a decimal string without leading zeros.
 *
 * A string, because a JSON number above 2^53 loses digits in most parsers (RFC 7493, section 2.2).
 * `BigInt(value)` is exact.
 */
export const ByteCount = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,18})$/, 'expected a decimal string without leading zeros')
  .refine(
    (text) => !/^[0-9]{1,19}$/.test(text) || BigInt(text) <= SIZE_BYTES_MAX,
    'expected at most 2^63 - 1',
  )
  .meta({ id: 'ByteCount', description: 'Bytes, 0 to 2^63 - 1, as a decimal string' })
export type ByteCount = z.infer<typeof ByteCount>

/** A named producer: a CI task or a backup job. */
export const TaskName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
    'expected 1 to 128 of A-Z a-z 0-9 . _ - starting with a letter or a digit',
  )
  .meta({ id: 'TaskName', description: 'Task: [A-Za-z0-9][A-Za-z0-9._-]{0,127}' })
export type TaskName = z.infer<typeof TaskName>

/** One attempt of a task: 0, 1, 2 … */
export const RunNumber = z
  .int()
  .min(0)
  .max(RUN_MAX)
  .meta({ id: 'RunNumber', description: 'Run of a task, from 0' })
export type RunNumber = z.infer<typeof RunNumber>

/**
 * Path-like name of an artifact inside its run.
 *
 *     name    = segment *("/" segment)          ; 1 to 512 bytes of UTF-8
 *     segment = 1*char                          ; but neither "." nor ".."
 *     char    = any character except "/", "\", U+0000-001F, U+007F-009F and lone surrogates
 *
 * For example `logs/build.txt`.
 */
export const ArtifactName = z
  .string()
  .superRefine((name, context) => {
    const fault = findNameFault(name)
    if (fault !== undefined) context.addIssue({ code: 'custom', message: fault, input: name })
  })
  .meta({
    id: 'ArtifactName',
    description: 'Path-like name, 1 to 512 bytes of UTF-8',
    minLength: 1,
  })
export type ArtifactName = z.infer<typeof ArtifactName>

/** Why `name` is not an artifact name, or `undefined` when it is one. */
export function findNameFault(name: string): string | undefined {
  const sizeBytes = new TextEncoder().encode(name).length
  if (sizeBytes < 1 || sizeBytes > NAME_BYTES_MAX)
    return `expected 1 to ${NAME_BYTES_MAX} bytes of UTF-8, found ${sizeBytes}`
  if (!name.isWellFormed()) return 'expected well-formed Unicode, found a lone surrogate'
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  if (/[\u0000-\u001f\u007f-\u009f]/.test(name)) return 'expected no control character'
  if (name.includes('\\')) return 'expected no backslash'
  for (const segment of name.split('/')) {
    if (segment === '') return 'expected no empty segment (no leading, trailing or double slash)'
    if (segment === '.' || segment === '..') return `expected no "${segment}" segment`
  }
  return undefined
}

/** Id of an upload, chosen by the client so that a repeated request is the same upload. */
export const UploadId = z
  .uuid()
  .toLowerCase()
  .meta({ id: 'UploadId', description: 'UUID chosen by the client' })
export type UploadId = z.infer<typeof UploadId>

/** Number of a part, from 1. */
export const PartNumber = z.int().min(1).max(PARTS_MAX).meta({ id: 'PartNumber' })
export type PartNumber = z.infer<typeof PartNumber>

/** Size of one part in bytes; 5 GiB is the largest that S3 takes. */
export const PartSizeBytes = z
  .int()
  .min(1)
  .max(5 * 1024 ** 3)
  .meta({ id: 'PartSizeBytes', description: 'Bytes of one part, at most 5 GiB' })
export type PartSizeBytes = z.infer<typeof PartSizeBytes>

/** A moment in UTC, RFC 3339, for example `2026-11-21T22:16:58.123Z`. */
export const Instant = z.iso
  .datetime()
  .meta({ id: 'Instant', description: 'Moment in UTC, RFC 3339' })
export type Instant = z.infer<typeof Instant>

/** Media type as in RFC 9110, section 8.3.1; parameters allowed, 255 characters at most. */
export const ContentType = z
  .string()
  .max(255)
  .regex(
    /^[A-Za-z0-9!#$&^_.+-]+\/[A-Za-z0-9!#$&^_.+-]+([ \t]*;[ \t]*[\x20-\x7e]+)?$/,
    'expected a media type such as application/octet-stream',
  )
  .meta({ id: 'ContentType', description: 'Media type' })
export type ContentType = z.infer<typeof ContentType>

const encodedBytes = (text: string) => new TextEncoder().encode(text).length

/** Bytes of labels as Postgres writes them. */
const labelsBytes = (labels: Record<string, string>) =>
  encodedBytes(JSON.stringify(labels)) + Math.max(0, 2 * Object.keys(labels).length - 1)

/**
 * Up to 32 labels: keys of 1 to 64 characters, values of up to 1,024 bytes of UTF-8; together no more than
 * the record holds.
 */
export const Labels = z
  .record(
    z
      .string()
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$/,
        'expected a label key of 1 to 64 of A-Z a-z 0-9 . _ / -',
      ),
    z
      .string()
      .refine(
        (value) => encodedBytes(value) <= LABEL_VALUE_BYTES_MAX,
        `expected at most ${LABEL_VALUE_BYTES_MAX} bytes of UTF-8`,
      )
      .refine(
        (value) => value.isWellFormed() && !value.includes('\0'),
        'expected well-formed Unicode without NUL',
      ),
  )
  .refine(
    (labels) => Object.keys(labels).length <= LABELS_MAX,
    `expected at most ${LABELS_MAX} labels`,
  )
  .refine(
    (labels) => labelsBytes(labels) <= LABELS_BYTES_MAX,
    `expected at most ${LABELS_BYTES_MAX} bytes as JSON`,
  )
  .meta({ id: 'Labels', description: 'Up to 32 labels' })
export type Labels = z.infer<typeof Labels>

/** How the server convinced itself of the bytes: it read and hashed them all, or it trusts the store's check of every part. */
export const SealPolicy = z.enum(['reread', 'parts']).meta({ id: 'SealPolicy' })
export type SealPolicy = z.infer<typeof SealPolicy>
