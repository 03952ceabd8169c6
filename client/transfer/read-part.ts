/** Reading a source for its digests, piece by piece. */
import type { ContentHasher } from '../verify/digest.ts'
import { interrupted, untilAborted } from './interruption.ts'
import type { TransferMemory } from './shared-memory.ts'
import type { Source } from './source.ts'
import type { SpreadHasher, ThreadCount } from './spread-hasher.ts'

/** Pieces in which bytes are read and hashed: one is read while the one before is hashed. */
const READ_BYTES = 1024 ** 2
/** Where bytes are only read for their digest, buffers of this size take turns. */
const TURN_BYTES = 4 * READ_BYTES
/** As many of them that a thread which has to wait for its core does not keep the reader waiting. */
const TURNS = 4

/**
 * Fills the buffer from the source, hashing each piece as it comes; answers less than the length of
 * the buffer only at the end of the source.
 */
export async function fillBuffer(
  source: Source,
  buffer: Uint8Array,
  hasher: Pick<ContentHasher, 'update'>,
  signal: AbortSignal,
): Promise<number> {
  const readNext = async (filled: number) => {
    const slice = buffer.subarray(filled, filled + READ_BYTES)
    return { slice, read: slice.length === 0 ? 0 : await source.read(slice, signal) }
  }
  let filled = 0
  for (let reading = readNext(0); ; ) {
    const { slice, read } = await reading
    filled += read
    const isLast = read < slice.length || filled === buffer.length
    if (!isLast) reading = readNext(filled)
    hasher.update(slice.subarray(0, read))
    if (isLast) return filled
  }
}

/** Buffers that are filled in turn. */
export interface Turns {
  /** The next one, once nothing hashes it any more. */
  next(): Promise<Uint8Array>
  /** Says when what was filled last is hashed. */
  filled(settled: Promise<void>): void
}

/** The buffers of {@link hashPart}; a single one where no thread looks at them. */
export function createTurns(memory: TransferMemory, threads: ThreadCount): Turns {
  const count = threads === 0 ? 1 : TURNS
  const bytes = memory.take(count * TURN_BYTES)
  const settled: Promise<void>[] = []
  let turn = 0
  return {
    async next() {
      await settled[turn]
      return bytes.subarray(turn * TURN_BYTES, (turn + 1) * TURN_BYTES)
    },
    filled(until) {
      settled[turn] = until
      turn = (turn + 1) % count
    },
  }
}

export interface PartReading {
  source: Source
  turns: Turns
  hasher: SpreadHasher
  signal: AbortSignal
  /** Hears of every piece that was read. */
  onRead?: (count: number) => void
}

/**
 * Reads the next `sizeBytes` of the source, which are of one part, into the hasher. Throws what the source
 * throws when it ends before.
 */
export async function hashPart(reading: PartReading, sizeBytes: number): Promise<void> {
  const { source, turns, hasher, signal, onRead } = reading
  for (let left = sizeBytes; left > 0; ) {
    if (signal.aborted) throw interrupted(signal.reason)
    const buffer = await untilAborted(turns.next(), signal)
    const read = await fillBuffer(source, buffer.subarray(0, left), hasher, signal)
    turns.filled(hasher.settled())
    if (read === 0) await source.checkEnd(hasher.sizeBytes, signal)
    onRead?.(read)
    left -= read
  }
}
