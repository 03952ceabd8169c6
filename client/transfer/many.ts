/** What uploading and getting several files have in common. */
import { ArtifactError } from '../../schemas/problems.ts'
import type { OnProgress, TransferProgress } from './progress.ts'

/** A file that failed, by its name. */
export interface FailedFile {
  name: string
  error: ArtifactError
}

/** Files at once for `concurrency` requests that move bytes: small ones spend most time asking. */
export function filesAtOnce(concurrency: number): number {
  return 2 * concurrency + 4
}

/** After these the next file would meet the same; no further one is begun. */
const FATAL = [
  'interrupted',
  'unreachable',
  'unauthenticated',
  'storage_full',
  'store_unavailable',
  'database_unavailable',
  'log_fork',
  'log_rollback',
  'overloaded',
  'internal',
]

/** Collects failures, and says when it is no use to go on. */
export interface FailureLog {
  readonly failed: FailedFile[]
  /** Why nothing more is begun, if so. */
  readonly fatal: ArtifactError | undefined
  add(name: string, error: unknown): void
}

/** Collects the failures of files, and the first one that ends everything. */
export function createFailureLog(): FailureLog {
  const failed: FailedFile[] = []
  let fatal: ArtifactError | undefined
  return {
    failed,
    get fatal() {
      return fatal
    },
    add(name, error) {
      // Anything else is a mistake in this program, and not a failure of the file.
      if (!(error instanceof ArtifactError)) throw error
      if (FATAL.includes(error.code)) fatal ??= error
      failed.push({ name, error })
    },
  }
}

/** Progress is told at most so often. */
const SPACING_MS = 100

/** One progress for many files. */
export interface TotalMeter {
  /** What to give one file as its `onProgress`. */
  watchFile(name: string): OnProgress
  /** The file ended; of a good one all its bytes count. */
  end(name: string, sizeBytes: bigint, isGood: boolean): void
  expect(files: number | undefined, totalBytes: bigint | undefined): void
}

/** One progress over many files; `onProgress` hears of their sum. */
export function createTotalMeter(
  phase: TransferProgress['phase'],
  reference: string,
  onProgress: OnProgress | undefined,
): TotalMeter {
  const running = new Map<string, { bytes: bigint; settledBytes: bigint }>()
  const files: { done: number; failed: number; total: number | undefined } = {
    done: 0,
    failed: 0,
    total: undefined,
  }
  let totalBytes: bigint | undefined
  let endedBytes = 0n
  let toldAt = Number.NEGATIVE_INFINITY
  const tell = (isUrgent: boolean) => {
    const now = performance.now()
    if (onProgress === undefined || (!isUrgent && now - toldAt < SPACING_MS)) return
    toldAt = now
    let bytes = endedBytes
    let settledBytes = endedBytes
    for (const file of running.values()) {
      bytes += file.bytes
      settledBytes += file.settledBytes
    }
    onProgress({
      phase,
      reference,
      bytes,
      settledBytes,
      totalBytes,
      attempt: 1,
      files: { ...files },
    })
  }
  return {
    watchFile(name) {
      return (progress) => {
        if (progress.phase !== phase) return
        running.set(name, { bytes: progress.bytes, settledBytes: progress.settledBytes })
        tell(false)
      }
    },
    end(name, sizeBytes, isGood) {
      running.delete(name)
      if (isGood) endedBytes += sizeBytes
      if (isGood) files.done++
      else files.failed++
      tell(files.done + files.failed === files.total)
    },
    expect(total, bytes) {
      files.total = total
      totalBytes = bytes
      tell(true)
    },
  }
}
