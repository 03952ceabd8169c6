import type { Writable } from 'node:stream'
import type { Artifact } from '../../schemas/artifact.ts'
import type { RunSelector } from '../../schemas/reference.ts'
import type { Trust } from '../trust/trust.ts'
import type { Check } from '../verify/verifier.ts'
import type { OnProgress } from './progress.ts'

/** What to get. */
export interface GetReference {
  task: string
  run: RunSelector
  name: string
}

export interface GetOptions {
  /** A path (an existing folder: the file goes into it under the last segment of its name), or a stream. */
  output: string | Writable
  /** To a stream: hold everything back until the whole is verified. */
  spool?: boolean | undefined
  /** Replace a file that is there. */
  force?: boolean | undefined
  /**
   * Demand every check that this version knows: a server without a log fails. Verification itself
   * cannot be switched off.
   */
  verify?: boolean | undefined
  /** Judges what the log of the server says [one that lasts as long as the connection]. */
  trust?: Trust | undefined
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
  /**
   * Artifacts of this size and above go to the disk as one stream, and a thread hashes the whole of them
   * there; smaller ones come in parts, each verified in memory [64 MiB].
   */
  streamFromBytes?: number | undefined
  /** Parts on their way at once [6; up to 32 where the network is slow]. */
  concurrency?: number | undefined
  /** Memory for parts, in bytes [128 MiB]. */
  memoryBytes?: number | undefined
  /** Where a spool goes [the system's folder for temporary files]. */
  spoolFolder?: string | undefined
  /** Keep what was received and verified when something fails; an interruption keeps it anyway. */
  keepPartial?: boolean | undefined
}

export interface GetResult {
  artifact: Artifact
  /** Where it is; `undefined` when it went into a stream. */
  path: string | undefined
  /** What was checked, in order. */
  checks: Check[]
  /** Bytes that came from the store this time. */
  receivedBytes: bigint
  /** Bytes that an earlier, interrupted call had left, verified again. */
  resumedBytes: bigint
}
