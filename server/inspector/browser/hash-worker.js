/**
 * Hashes what a page downloads, beside the page, and gives every buffer back. WebAssembly is allowed
 * in this worker and not in the page: the policy comes with the file.
 *
 * @import { ExpectedBytes, Hasher, Refusal, StreamCheck } from './stream-check.js'
 * @typedef {{ kind: 'begin', expected: ExpectedBytes }
 *   | { kind: 'chunk', bytes: Uint8Array<ArrayBuffer> }
 *   | { kind: 'end' }} Question
 * @typedef {{ kind: 'ready' }
 *   | { kind: 'chunk', bytes: Uint8Array<ArrayBuffer>, refusal: Refusal | undefined }
 *   | { kind: 'end', refusal: Refusal | undefined }
 *   | { kind: 'broken', reason: string }} Answer
 */
import { createStreamCheck } from './stream-check.js'

/** @type {StreamCheck | undefined} */
let check

/** @param {Answer} answer @param {ArrayBuffer[]} [buffers] */
const answer = (answer, buffers = []) => globalThis.postMessage(answer, { transfer: buffers })

/** @returns {Promise<() => Promise<Hasher>>} */
async function loadHasher() {
  // It hangs itself on the global object.
  await import(new URL('vendor/sha256.js', import.meta.url).href)
  return Reflect.get(globalThis, 'hashwasm').createSHA256
}

/** @param {Question} question */
async function handle(question) {
  switch (question.kind) {
    case 'begin': {
      const load = await loadHasher()
      const hashers = [await load(), await load()]
      check = createStreamCheck(question.expected, () => {
        const hasher = hashers.pop()
        if (hasher === undefined) throw new Error('A check takes two hashers')
        return hasher
      })
      return answer({ kind: 'ready' })
    }
    case 'chunk': {
      const refusal = check?.update(question.bytes)
      return answer({ kind: 'chunk', bytes: question.bytes, refusal }, [question.bytes.buffer])
    }
    case 'end':
      return answer({ kind: 'end', refusal: check?.finish() })
  }
}

/** One after the other, in the order in which they came. */
let last = Promise.resolve()
globalThis.addEventListener('message', (/** @type {MessageEvent<Question>} */ { data }) => {
  last = last
    .then(() => handle(data))
    .catch((error) => answer({ kind: 'broken', reason: String(error) }))
})
