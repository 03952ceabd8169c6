/** Many small artifacts in one request: their bytes come along, and each is sealed or refused by itself. */
import { z } from 'zod'
import { Artifact } from './artifact.ts'
import { Consistency, Since } from './log-question.ts'
import {
  ArtifactName,
  ContentType,
  Labels,
  RunNumber,
  Sha256,
  TaskName,
  UploadId,
} from './primitives.ts'
import { Problem } from './problem-document.ts'

/** Most artifacts in one request. */
export const BATCH_MAX = 256
/** Most bytes of one artifact in it, 64 KiB. */
export const BATCH_CONTENT_BYTES_MAX = 65_536

/** One artifact, whole. Repeating it with the same id is the same upload. */
export const SmallArtifact = z
  .strictObject({
    id: UploadId,
    task: TaskName,
    /** Absent: the run that the `requestId` of the batch allots. */
    run: RunNumber.optional(),
    name: ArtifactName,
    /** Of the content; what arrives with another digest is refused. */
    sha256: Sha256,
    contentType: ContentType.default('application/octet-stream'),
    labels: Labels.default({}),
    /** The bytes, in Base 64 (RFC 4648, section 4). */
    content: z
      .base64()
      .max(Math.ceil(BATCH_CONTENT_BYTES_MAX / 3) * 4)
      // The last group of four stands for one to three bytes.
      .refine((text) => sizeOfBase64(text) <= BATCH_CONTENT_BYTES_MAX, {
        error: `expected at most ${BATCH_CONTENT_BYTES_MAX} bytes`,
      }),
  })
  .meta({ id: 'SmallArtifact' })
export type SmallArtifact = z.infer<typeof SmallArtifact>

function sizeOfBase64(text: string): number {
  return (text.length / 4) * 3 - (text.length - text.replace(/=+$/, '').length)
}

/** Whether each has a run, or can be given one: an id allots a run of one task. */
function isPlaced(batch: {
  artifacts: readonly { task: string; run?: number | undefined }[]
  requestId?: string | undefined
}): boolean {
  const tasks = batch.artifacts.flatMap(({ task, run }) => (run === undefined ? [task] : []))
  return tasks.length === 0 || (batch.requestId !== undefined && new Set(tasks).size === 1)
}

export const SealBatch = z
  .strictObject({
    artifacts: z.array(SmallArtifact).min(1).max(BATCH_MAX),
    /** Allots the next run of the task to those that name none; the same id allots the same run. */
    requestId: z.uuid().optional(),
    /** Wait until the log has them, and bring the receipts. */
    receipts: z.boolean().default(false),
    since: Since,
  })
  .refine(isPlaced, {
    error: 'expected a run for each, or a requestId and one task for those without',
    path: ['requestId'],
  })
  .meta({ id: 'SealBatch' })
export type SealBatch = z.infer<typeof SealBatch>

/** What became of each, in the order of the request. */
export const SealedBatch = z
  .object({
    outcomes: z.array(
      z.discriminatedUnion('outcome', [
        z.object({
          outcome: z.literal('sealed'),
          artifact: Artifact,
          /** C2SP tlog-proof; where it was asked for, of a server that has a log. */
          receipt: z.string().optional(),
        }),
        z.object({ outcome: z.literal('refused'), problem: Problem }),
      ]),
    ),
    /** From the head that was asked about to that of the receipts. */
    consistency: Consistency,
  })
  .meta({ id: 'SealedBatch' })
export type SealedBatch = z.infer<typeof SealedBatch>
