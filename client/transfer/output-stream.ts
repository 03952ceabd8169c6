import type { Writable } from 'node:stream'
import { ArtifactError } from '../../schemas/problems.ts'
import { errorCode } from '../disk/local-error.ts'
import { untilAborted } from './interruption.ts'

const PIECE_BYTES = 256 * 1024

/** Writes verified bytes into a stream of the caller; it is left open. */
export interface OutputStream extends AsyncDisposable {
  /** Returns when the stream has taken them. Throws `local_io` when its reader is gone. */
  write(bytes: Uint8Array, signal: AbortSignal): Promise<void>
}

/** Writes with back pressure; a reader that goes away is an error of the next write. */
export function writeToStream(output: Writable): OutputStream {
  let failure: Error | undefined
  const onError = (error: Error) => {
    failure ??= error
  }
  // Without somebody who listens, a reader that goes away would end the process.
  output.on('error', onError)
  const writePiece = async (piece: Uint8Array): Promise<void> => {
    if (failure !== undefined) throw failure
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    // A copy, since the stream may keep it after it has taken it, and the buffer is used again.
    output.write(Buffer.from(piece), (error) => (error ? reject(error) : resolve()))
    await promise
  }
  return {
    async write(bytes, signal) {
      for (let offset = 0; offset < bytes.length; offset += PIECE_BYTES) {
        const piece = bytes.subarray(offset, offset + PIECE_BYTES)
        await untilAborted(writePiece(piece), signal).catch((error: unknown) => {
          throw outputError(error)
        })
      }
    },
    async [Symbol.asyncDispose]() {
      output.off('error', onError)
    },
  }
}

function outputError(error: unknown): ArtifactError {
  if (error instanceof ArtifactError) return error
  const code = errorCode(error)
  const isGone = code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED'
  const state = isGone
    ? 'its reader is gone'
    : error instanceof Error
      ? error.message
      : String(error)
  return new ArtifactError('local_io', `Cannot write the output: ${state}`, { cause: error })
}
