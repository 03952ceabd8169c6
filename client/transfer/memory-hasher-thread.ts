/** The thread behind `memory-hasher.ts`: hashes bytes where they lie, in the order in which it is told. */
import { createHash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'

// What comes from the other side of this very module is trusted, and nothing is loaded to check it.
type Message = Uint8Array | 'digest' | 'settled'

let hash = createHash('sha256')

parentPort?.on('message', (message: Message) => {
  if (message instanceof Uint8Array) hash.update(message)
  else if (message === 'settled') parentPort?.postMessage('')
  else {
    parentPort?.postMessage(hash.digest('hex'))
    hash = createHash('sha256')
  }
})
