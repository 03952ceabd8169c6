import { z } from 'zod'
import { Instant } from './primitives.ts'
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
