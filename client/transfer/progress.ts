/** How far a transfer is. */
export interface TransferProgress {
  /**
   * `hashing`: the local file is read only; `sending`: parts go up; `verifying`: the server reads
   * what it stores; `receiving`: parts come down and are verified.
   */
  phase: 'hashing' | 'sending' | 'verifying' | 'receiving'
  /** `task/run/name`, or `task/run` when several files move as one. */
  reference: string
  /** Bytes done in this phase, those on their way included; it falls when a part is sent again. */
  bytes: bigint
  /** Bytes that the other side has confirmed, or that were verified here; it never falls. */
  settledBytes: bigint
  /** `undefined` while the size is not known. */
  totalBytes: bigint | undefined
  /** 1 for the first try of an upload, one more after every restart. */
  attempt: number
  /** Of an upload that is open: for `artifact watch` and `artifact abort`. */
  uploadId?: string | undefined
  /** When several files move as one. */
  files?: { done: number; failed: number; total: number | undefined } | undefined
}

/** Called often (several times a second at most for one transfer); it must not throw. */
export type OnProgress = (progress: TransferProgress) => void
