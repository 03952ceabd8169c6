/** The thread behind `file-hasher.ts`: reads the file as far as it is told, and hashes what it reads. */
import { createHash } from 'node:crypto'
import { readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'

/** Small enough to be still in the cache of the core when it is hashed. */
const READ_BYTES = 256 * 1024

// What comes from the other side of this very module is trusted, and nothing is loaded to check it.
interface Order {
  fd: number
  partSizeBytes: number | undefined
}
type Message = { sizeBytes: number } | { end: true }

const { fd, partSizeBytes }: Order = workerData
const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
const hasher = partSizeBytes === undefined ? hashWhole() : await hashParts(partSizeBytes)
let done = 0

parentPort?.on('message', (message: Message) => {
  try {
    if ('sizeBytes' in message) return readUpTo(message.sizeBytes)
    parentPort?.postMessage(hasher.finish())
  } catch (error) {
    parentPort?.postMessage({ error })
  }
  parentPort?.close()
})

function readUpTo(sizeBytes: number): void {
  while (done < sizeBytes) {
    const read = readSync(fd, buffer, 0, Math.min(buffer.length, sizeBytes - done), done)
    if (read === 0) throw new Error(`The file ends after ${done} of ${sizeBytes} bytes`)
    hasher.update(buffer.subarray(0, read))
    done += read
  }
}

/** Loaded when it is wanted: the start of the thread is part of every large transfer. */
async function hashParts(sizeBytes: number) {
  const { createContentHasher } = await import('../verify/digest.ts')
  return createContentHasher(sizeBytes)
}

function hashWhole() {
  const hash = createHash('sha256')
  let sizeBytes = 0n
  return {
    update(bytes: Uint8Array) {
      hash.update(bytes)
      sizeBytes += BigInt(bytes.length)
    },
    finish: () => ({ sizeBytes, sha256: hash.digest('hex'), parts: [] }),
  }
}
