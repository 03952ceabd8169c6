import { z } from 'zod'

/** The transparency log of a server. */
export const LogInfo = z
  .object({
    /** Name of the log, for ever. */
    origin: z.string(),
    /** Public key in the form of C2SP signed-note. A client pins it; it is not trusted for being here. */
    key: z.string().max(1024),
    /** Leaves under the newest signed head; 0 until there is one. */
    size: z.int().min(0),
  })
  .meta({ id: 'LogInfo' })
export type LogInfo = z.infer<typeof LogInfo>
