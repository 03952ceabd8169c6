/** Lists come in pages. */
import { z } from 'zod'

/** Largest and default page. */
export const PAGE_MAX = 1000
export const PAGE_DEFAULT = 100

/** A page of items; `id` is its name in `/openapi.json`. */
export const page = <T extends z.ZodType>(id: string, item: T) =>
  z
    .object({
      items: z.array(item),
      /** Give it as `after` to go on; `null` on the last page. A page can be short, even empty. */
      next: z.string().nullable(),
    })
    .meta({ id })
