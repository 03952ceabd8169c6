/** Many small artifacts of a run in one answer: what a client needs to judge each, and its bytes. */
import { z } from 'zod'
import { BATCH_CONTENT_BYTES_MAX, BATCH_MAX } from './batch.ts'
import { ArtifactName } from './primitives.ts'
import { Problem } from './problem-document.ts'
import { Grant } from './upload.ts'

/** Most bytes of contents in one answer, 2 MiB; what does not fit any more comes as grants. */
export const CONTENTS_BYTES_MAX = 2 * 1024 ** 2

export const GetContents = z
  .strictObject({ names: z.array(ArtifactName).min(1).max(BATCH_MAX) })
  .meta({ id: 'GetContents' })
export type GetContents = z.infer<typeof GetContents>

/** The proof that the log has it (C2SP tlog-proof); `null` while there is none. */
const Receipt = z.string().nullable()

/** What there is of each name, in the order of the request. */
export const Contents = z
  .object({
    items: z.array(
      z.discriminatedUnion('outcome', [
        z.object({
          outcome: z.literal('content'),
          receipt: Receipt,
          /** The bytes, in Base 64 (RFC 4648, section 4). */
          content: z.string().max(Math.ceil(BATCH_CONTENT_BYTES_MAX / 3) * 4),
        }),
        z.object({ outcome: z.literal('granted'), receipt: Receipt, grant: Grant }),
        z.object({ outcome: z.literal('refused'), problem: Problem }),
      ]),
    ),
  })
  .meta({ id: 'Contents' })
export type Contents = z.infer<typeof Contents>
