import type { Artifact } from '../../schemas/artifact.ts'
import type { SealPolicy } from '../../schemas/primitives.ts'
import type { Trust } from '../trust/trust.ts'
import type { Budget } from './budget.ts'
import type { Connection } from './connection.ts'
import type { JournalSlot } from './journal.ts'
import type { Meter } from './meter.ts'
import type { OnProgress } from './progress.ts'
import type { Source } from './source.ts'
import type { ThreadCount } from './spread-hasher.ts'

/** Where the bytes of an upload come from. */
export type UploadSource =
  | { file: string }
  /** Must throw when what makes the data fails: then nothing is sealed. */
  | { stream: AsyncIterable<Uint8Array>; sizeBytes?: bigint | undefined }

export interface UploadTarget {
  task: string
  /** Absent: the server allots the next one. */
  run?: number | undefined
  /** Absent: the last segment of the path of the file. */
  name?: string | undefined
}

export interface UploadOptions {
  /** Media type [application/octet-stream]. */
  contentType?: string | undefined
  labels?: Record<string, string> | undefined
  /** Seal nothing but this content: throws `digest_mismatch` otherwise. */
  expectSha256?: string | undefined
  /** How the server convinces itself [as the server is set]. */
  policy?: SealPolicy | undefined
  /** Parts on their way at once [6; up to 32 where the network is slow]. */
  concurrency?: number | undefined
  /** Memory for parts, in bytes [128 MiB]. */
  memoryBytes?: number | undefined
  /** Threads that hash besides the one that sends [as many as pay for this size on this machine]. */
  hashThreads?: ThreadCount | undefined
  /** Stops the upload; that of a file with a journal stays open, and the same call resumes it. */
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
  /** Folder in which unfinished uploads are remembered; absent: nothing is resumed. */
  journal?: string | undefined
  /** Read what a symbolic link leads to; without it a link is refused as `unsafe_path`. */
  followLinks?: boolean | undefined
  /** Wait until the log has it, and check that [true]. */
  receipt?: boolean | undefined
  /** Judges what the log of the server says [one that lasts as long as the connection]. */
  trust?: Trust | undefined
}

export interface UploadResult {
  /** `already-sealed`: the very content was under this name before. */
  outcome: 'sealed' | 'already-sealed'
  artifact: Artifact
  /** Whether an earlier, unfinished upload was gone on with. */
  resumed: boolean
  /** Bytes that went to the store this time. */
  sentBytes: bigint
  /**
   * C2SP tlog-proof: that the log of the server has what was uploaded, checked. Absent when the server
   * has no log, or nobody asked.
   */
  receipt: string | undefined
}

/** Everything that one upload works with. */
export interface UploadJob {
  budget: Budget
  connection: Connection
  source: Source
  slot: JournalSlot
  meter: Meter
  options: UploadOptions
  trust: Trust
  signal: AbortSignal
  target: UploadTarget & { name: string }
}
