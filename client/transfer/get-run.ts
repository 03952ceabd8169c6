import type { RunSelector } from '../../schemas/reference.ts'
import type { Connection } from './connection.ts'
import type { GetOptions, GetResult } from './get.ts'
import type { FailedFile } from './upload-all.ts'

export interface GetRunOptions extends Omit<GetOptions, 'output' | 'spool'> {
  /** Only names that begin with it. */
  prefix?: string | undefined
}

export interface GetRunResult {
  task: string
  /** `undefined` when `latest` was asked for and there is none. */
  run: number | undefined
  done: GetResult[]
  failed: FailedFile[]
}

/** Gets all artifacts of a run into a folder, each verified; never writes outside that folder. */
export async function getRun(
  _connection: Connection,
  _task: string,
  _run: RunSelector,
  _folder: string,
  _options: GetRunOptions = {},
): Promise<GetRunResult> {
  throw new Error('unfinished')
}
