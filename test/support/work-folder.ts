import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A temporary folder that goes away with all that is in it. */
export interface WorkFolder extends AsyncDisposable {
  readonly path: string
  /** A path below it. */
  at(...segments: string[]): string
}

export async function makeWorkFolder(): Promise<WorkFolder> {
  const path = await mkdtemp(join(tmpdir(), 'artifact-work-'))
  return {
    path,
    at: (...segments) => join(path, ...segments),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  }
}
