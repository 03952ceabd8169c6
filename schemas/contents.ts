/** Many small artifacts of a run in one answer: what a client needs to judge each, and its bytes. */
import { z } from 'zod'
import { Artifact, Part } from './artifact.ts'
import { BATCH_CONTENT_BYTES_MAX, BATCH_MAX } from './batch.ts'
import { Consistency, ReceiptText, Since } from './log-question.ts'
import { ArtifactName } from './primitives.ts'
import { Problem } from './problem-document.ts'
import { Grant } from './upload.ts'

/** Most bytes of contents in one answer, 2 MiB; what does not fit any more comes as grants. */
export const CONTENTS_BYTES_MAX = 2 * 1024 ** 2

export const GetContents = z
  .strictObject({ names: z.array(ArtifactName).min(1).max(BATCH_MAX), since: Since })
  .meta({ id: 'GetContents' })
export type GetContents = z.infer<typeof GetContents>

/** The bytes of an artifact, as far as an answer can hold them. */
const Content = z.discriminatedUnion('outcome', [
  z.object({
    outcome: z.literal('content'),
    /** The bytes, in Base 64 (RFC 4648, section 4). */
    content: z.string().max(Math.ceil(BATCH_CONTENT_BYTES_MAX / 3) * 4),
  }),
  z.object({ outcome: z.literal('granted'), grant: Grant }),
  z.object({ outcome: z.literal('refused'), problem: Problem }),
])

/** What there is of each name, in the order of the request. */
export const Contents = z
  .object({
    items: z.array(
      z.discriminatedUnion('outcome', [
        Content.options[0].extend({ receipt: ReceiptText }),
        Content.options[1].extend({ receipt: ReceiptText }),
        Content.options[2],
      ]),
    ),
    /** From the head that was asked about to that of the receipts. */
    consistency: Consistency,
  })
  .meta({ id: 'Contents' })
export type Contents = z.infer<typeof Contents>

/** All that it takes to get one artifact: what is recorded, what proves that, and the way to the bytes. */
export const Delivery = z
  .object({
    artifact: Artifact,
    /** All of them, in order. */
    parts: z.array(Part),
    receipt: ReceiptText,
    consistency: Consistency,
    /** Refused when the bytes may not be had: the record is shown all the same. */
    content: Content,
  })
  .meta({ id: 'Delivery' })
export type Delivery = z.infer<typeof Delivery>
