/** The thread behind `file-hasher.ts`: reads the file as far as it is told, and hashes what it reads. */
import { createHash } from 'node:crypto'
import { readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { z } from 'zod'
import { createContentHasher } from '../verify/digest.ts'

/** Small enough to be still in the cache of the core when it is hashed. */
const READ_BYTES = 256 * 1024

const Order = z.object({ fd: z.int(), partSizeBytes: z.int().optional() })
const Message = z.union([z.object({ sizeBytes: z.int() }), z.object({ end: z.literal(true) })])

const { fd, partSizeBytes } = Order.parse(workerData)
const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
const hasher = partSizeBytes === undefined ? hashWhole() : createContentHasher(partSizeBytes)
let done = 0

parentPort?.on('message', (message: unknown) => {
  try {
    const order = Message.parse(message)
    if ('sizeBytes' in order) return readUpTo(order.sizeBytes)
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
