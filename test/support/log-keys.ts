/** Keys of logs and witnesses for tests: their seeds are numbers, so they are the same each time. */
import { createNoteSigner, type KeyKind, type NoteSigner } from '../../client/verify/note-key.ts'

/** A signer whose seed is 32 times this byte. */
export function testSigner(name: string, kind: KeyKind, seed: number): NoteSigner {
  return createNoteSigner(name, kind, new Uint8Array(32).fill(seed))
}

export const LOG_SIGNER = testSigner('example.com/log', 'note', 1)
export const EAST_SIGNER = testSigner('east.example', 'cosignature', 2)
export const WEST_SIGNER = testSigner('west.example', 'cosignature', 3)

/** Changes each byte in turn: all of them by one bit, and to characters that formats care about. */
export function* mutateBytes(bytes: Uint8Array): Generator<{ at: number; mutant: Uint8Array }> {
  for (const [at, value] of bytes.entries()) {
    const others = new Set([value ^ 1, value ^ 0x20, value ^ 0x80, 0x0a, 0x20, 0x3d])
    others.delete(value)
    for (const other of others) {
      const mutant = Uint8Array.from(bytes)
      mutant[at] = other
      yield { at, mutant }
    }
    yield { at, mutant: Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]) }
    yield {
      at,
      mutant: Buffer.concat([bytes.subarray(0, at), Buffer.of(value), bytes.subarray(at)]),
    }
  }
}
