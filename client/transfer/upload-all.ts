import type { ArtifactError } from '../../schemas/problems.ts'
import type { Connection } from './connection.ts'
import type { UploadOptions, UploadResult } from './upload-job.ts'

/** One file of several. */
export interface UploadEntry {
  file: string
  /** Of the artifact, for example the path relative to the folder, with `/`. */
  name: string
  /** Media type of this one [that of the options]. */
  contentType?: string | undefined
}

export interface FailedFile {
  name: string
  error: ArtifactError
}

export interface UploadAllResult {
  task: string
  run: number
  done: UploadResult[]
  /** Each by its name; those that an interruption left undone too. */
  failed: FailedFile[]
}

export type UploadAllOptions = Omit<UploadOptions, 'expectSha256'>

/**
 * Uploads several files as one run, each its own artifact, with one total progress. What fails is
 * named in the result; it throws only when nothing could begin.
 */
export async function uploadAll(
  _connection: Connection,
  _entries: readonly UploadEntry[],
  _target: { task: string; run?: number | undefined },
  _options: UploadAllOptions = {},
): Promise<UploadAllResult> {
  throw new Error('unfinished')
}
