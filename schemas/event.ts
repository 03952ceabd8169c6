import { z } from 'zod'
import { Instant, UploadId } from './primitives.ts'
import { Upload } from './upload.ts'

/** Something happened that people watch: `upload` carries the whole upload as it then was. */
export const Event = z
  .discriminatedUnion('kind', [
    z.object({
      /** Grows by time of commit; decimal. */
      id: z.string().regex(/^[0-9]{1,19}$/),
      kind: z.literal('upload'),
      at: Instant,
      upload: Upload,
    }),
  ])
  .meta({ id: 'Event' })
export type Event = z.infer<typeof Event>

/**
 * `event: reset` of `/v1/events`, after a picture that stands in for what was asked for: the event to go
 * on after is not kept, or never was. Whoever shows uploads drops those that are not in it.
 */
export const Reset = z
  .object({
    /** Every active upload of the picture. */
    uploads: z.array(UploadId),
  })
  .meta({ id: 'Reset' })
export type Reset = z.infer<typeof Reset>

/** `event: beat` of `/v1/events`, every ten seconds: the stream lives, and it is this late at the server. */
export const Beat = z.object({ at: Instant }).meta({ id: 'Beat' })
export type Beat = z.infer<typeof Beat>
