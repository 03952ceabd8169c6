/**
 * Memory that threads see as well. V8 collects what is dropped of it late, since it does not count it; so
 * the next transfer takes what the last one has left.
 */

/** Sizes are rounded up to this: transfers of any size use each other's memory. What is not touched costs nothing. */
const STEP_BYTES = 8 * 1024 ** 2

/** What no transfer uses, unless it has been collected. */
const spare: WeakRef<SharedArrayBuffer>[] = []

/** Memory of one transfer. Dispose of it when nobody reads or writes it any more, on any thread. */
export interface TransferMemory extends Disposable {
  /** A buffer of this size; what is in it is left from before. */
  take(sizeBytes: number): Uint8Array
}

/** Memory for a transfer; `isShared`: a thread of its own is going to read it. */
export function openMemory({ isShared }: { isShared: boolean }): TransferMemory {
  if (!isShared)
    return { take: (sizeBytes) => Buffer.allocUnsafeSlow(sizeBytes), [Symbol.dispose]() {} }
  const taken: SharedArrayBuffer[] = []
  return {
    take(sizeBytes) {
      const memory = takeSpare(sizeBytes) ?? allocate(sizeBytes)
      taken.push(memory)
      return Buffer.from(memory, 0, sizeBytes)
    },
    [Symbol.dispose]() {
      spare.push(...taken.splice(0).map((memory) => new WeakRef(memory)))
    },
  }
}

function takeSpare(sizeBytes: number): SharedArrayBuffer | undefined {
  for (let place = spare.length - 1; place >= 0; place--) {
    const memory = spare[place]?.deref()
    if (memory !== undefined && memory.byteLength < sizeBytes) continue
    spare.splice(place, 1)
    if (memory !== undefined) return memory
  }
  return undefined
}

function allocate(sizeBytes: number): SharedArrayBuffer {
  return new SharedArrayBuffer(Math.ceil(sizeBytes / STEP_BYTES) * STEP_BYTES)
}
