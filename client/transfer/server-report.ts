import type { Upload } from '../../schemas/upload.ts'
import { call } from '../api.ts'
import type { UploadJob } from './upload-job.ts'

/** The server is told how far the upload is at most so often. */
const SPACING_MS = 1000

/** Tells the server how far an upload is, while it lives. */
export interface ServerReport extends AsyncDisposable {
  /** Says the last word: everything is sent. */
  end(): Promise<void>
}

/**
 * Starts to report. A report that fails is left out: those who watch see the next one. An upload
 * that takes less than a second is not worth any.
 */
export function createServerReport(
  {
    connection,
    meter,
    source,
    signal,
  }: Pick<UploadJob, 'connection' | 'meter' | 'source' | 'signal'>,
  upload: Upload,
): ServerReport {
  let pending: Promise<void> | undefined
  let isWorthIt = false
  const say = async (): Promise<void> => {
    const totalBytes = source.sizeBytes === undefined ? null : String(source.sizeBytes)
    await call(
      connection,
      'reportProgress',
      {
        params: { id: upload.id },
        body: { bytes: String(meter.bytes), totalBytes, attempt: meter.attempt },
      },
      { signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)]), tries: 1 },
    ).catch(() => undefined)
    pending = undefined
  }
  const start = () => {
    isWorthIt = true
    if (upload.state === 'open') pending ??= say()
  }
  const timer = setInterval(start, SPACING_MS)
  timer.unref()
  // A restart shows at once.
  if (meter.attempt > 1) start()
  return {
    async end() {
      clearInterval(timer)
      await pending
      if (isWorthIt) start()
      await pending
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await pending
    },
  }
}
