import type { OnProgress, TransferProgress } from './progress.ts'

/** Progress is told at most so often; the end of every phase always. */
const SPACING_MS = 100

/** Counts what moves, and tells it now and then. */
export interface Meter {
  readonly bytes: bigint
  readonly settledBytes: bigint
  /** Begins a phase, from nothing. */
  begin(phase: TransferProgress['phase'], totalBytes: bigint | undefined): void
  /** Bytes that moved; fewer than none when they have to move again. */
  move(count: number | bigint): void
  /** Bytes that are done for good; they have been moved before. */
  settle(count: number | bigint): void
  /** Both at once, for what need not move. */
  skip(count: number | bigint): void
  /** Sets the bytes of a phase that somebody else counts. */
  moveTo(bytes: bigint): void
  /** Tells it at once. */
  flush(): void
  attempt: number
  uploadId: string | undefined
  reference: string
}

/** Progress of one transfer; tells `onProgress` at every change of phase, and else not too often. */
export function createMeter(reference: string, onProgress: OnProgress | undefined): Meter {
  let phase: TransferProgress['phase'] = 'hashing'
  let bytes = 0n
  let settledBytes = 0n
  let totalBytes: bigint | undefined
  let toldAt = Number.NEGATIVE_INFINITY
  const tell = (isUrgent: boolean) => {
    if (onProgress === undefined) return
    const now = performance.now()
    if (!isUrgent && now - toldAt < SPACING_MS) return
    toldAt = now
    const { attempt, uploadId } = meter
    onProgress({
      phase,
      reference: meter.reference,
      bytes,
      settledBytes,
      totalBytes,
      attempt,
      uploadId,
    })
  }
  const meter: Meter = {
    attempt: 1,
    uploadId: undefined,
    reference,
    get bytes() {
      return bytes
    },
    get settledBytes() {
      return settledBytes
    },
    begin(next, total) {
      phase = next
      totalBytes = total
      bytes = 0n
      settledBytes = 0n
      tell(true)
    },
    move(count) {
      bytes += BigInt(count)
      tell(false)
    },
    settle(count) {
      settledBytes += BigInt(count)
      tell(settledBytes === totalBytes)
    },
    skip(count) {
      bytes += BigInt(count)
      settledBytes += BigInt(count)
      tell(settledBytes === totalBytes)
    },
    moveTo(count) {
      bytes = count
      settledBytes = count
      tell(false)
    },
    flush() {
      tell(true)
    },
  }
  return meter
}
