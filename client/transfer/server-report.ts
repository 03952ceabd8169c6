import type { Upload } from '../../schemas/upload.ts'
import { call } from '../api.ts'
import type { UploadJob } from './upload-job.ts'

/** The server is told how far the upload is at most so often. */
const SPACING_MS = 1000

/**
 * Tells the server how far an upload is, until it is disposed of: that everything is sent, the seal says.
 * A report that fails is left out: those who watch see the next one. An upload that takes less than a
 * second is not worth any.
 */
export function createServerReport(
  {
    connection,
    meter,
    source,
    signal,
  }: Pick<UploadJob, 'connection' | 'meter' | 'source' | 'signal'>,
  upload: Upload,
): Disposable {
  let isUnderWay = false
  const say = async (): Promise<void> => {
    isUnderWay = true
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
    isUnderWay = false
  }
  const start = () => {
    if (upload.state === 'open' && !isUnderWay) void say()
  }
  const timer = setInterval(start, SPACING_MS)
  timer.unref()
  // A restart shows at once.
  if (meter.attempt > 1) start()
  return {
    [Symbol.dispose]: () => clearInterval(timer),
  }
}
