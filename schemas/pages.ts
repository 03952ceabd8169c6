/** Lists come in pages. */
import { z } from 'zod'
import { Artifact, Run, Task } from './artifact.ts'
import { Token } from './token.ts'
import { Upload } from './upload.ts'
import { Verification } from './verification.ts'

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

export const TaskPage = page('TaskPage', Task)
export type TaskPage = z.infer<typeof TaskPage>
export const RunPage = page('RunPage', Run)
export type RunPage = z.infer<typeof RunPage>
export const ArtifactPage = page('ArtifactPage', Artifact)
export type ArtifactPage = z.infer<typeof ArtifactPage>
export const UploadPage = page('UploadPage', Upload)
export type UploadPage = z.infer<typeof UploadPage>
export const TokenPage = page('TokenPage', Token)
export type TokenPage = z.infer<typeof TokenPage>
export const VerificationPage = page('VerificationPage', Verification)
export type VerificationPage = z.infer<typeof VerificationPage>
