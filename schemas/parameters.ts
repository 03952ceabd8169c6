/** Parts of addresses that several endpoints share. */
import { z } from 'zod'
import { PAGE_DEFAULT, PAGE_MAX } from './pages.ts'
import { ArtifactName, RunNumber, TaskName, UploadId } from './primitives.ts'

/** A run in an address: one notation alone, so that a thing has one address. */
export const RunText = z.coerce
  .string()
  .regex(/^(0|[1-9][0-9]{0,9})$/, 'expected a whole number')
  .transform(Number)
  .pipe(RunNumber)
const RunParam = z.union([z.literal('latest'), RunText])
/** Where a list goes on, or what its names start with: no name has a control character. */
export const NamePart = z.string().regex(/^\P{Cc}*$/u, 'expected no control character')
export const inTask = z.object({ task: TaskName })
export const inRun = inTask.extend({ run: RunParam })
export const atName = inRun.extend({ name: ArtifactName })
export const ofUpload = z.object({ id: UploadId })
export const Limit = z.coerce.number().int().min(1).max(PAGE_MAX).default(PAGE_DEFAULT)
