/**
 * How an artifact is cut into parts: arithmetic only, shared by the server, which dictates the part
 * size, and the client, which obeys it. Every part but the last has the same size (some S3 stores
 * demand that), so a size and a part size say everything.
 */
import { PARTS_MAX } from './primitives.ts'

const MIB = 1024 ** 2

/** Where one part lies: `[offset, offset + sizeBytes)`. */
export interface PartRange {
  /** From 1. */
  number: number
  offset: bigint
  sizeBytes: number
}

/** What the server needs to know to choose a part size. All in bytes. */
export interface PartLimits {
  /** Part size while it suffices [8 MiB]; what is no larger is one part. */
  preferredBytes: number
  /** The least that a modest artifact is cut into [5 MiB, which is the least that S3 takes]. */
  leastBytes: number
  /** Part size when the size of the whole is not known [64 MiB]. */
  unknownSizeBytes: number
  /** Largest part that the store takes [5 GiB]. */
  largestBytes: number
}

export const DEFAULT_PART_LIMITS: PartLimits = {
  preferredBytes: 8 * MIB,
  leastBytes: 5 * MIB,
  unknownSizeBytes: 64 * MIB,
  largestBytes: 5 * 1024 * MIB,
}

/** Parts aimed at when the preferred size does not suffice: 5 % below the limit of 10,000. */
const PARTS_AIM = 9_500n
/** Fewer parts than this are made smaller: each is a stream of its own where one alone is slow. */
const STREAMS_AIM = 32n

/**
 * The part size for an artifact of `sizeBytes` (`undefined`: not known beforehand).
 * Returns `undefined` when no allowed part size suffices.
 */
export function choosePartSize(
  sizeBytes: bigint | undefined,
  limits: PartLimits,
): number | undefined {
  if (sizeBytes === undefined) return limits.unknownSizeBytes
  const { preferredBytes, leastBytes, largestBytes } = limits
  if (sizeBytes <= BigInt(preferredBytes)) return preferredBytes
  if (sizeBytes <= BigInt(preferredBytes) * BigInt(PARTS_MAX)) {
    const modest = Math.max(leastBytes, Number(cutInto(STREAMS_AIM, sizeBytes)))
    return Math.min(preferredBytes, modest)
  }
  const rounded = cutInto(PARTS_AIM, sizeBytes)
  return rounded <= BigInt(largestBytes) ? Number(rounded) : undefined
}

/** The whole MiB of which so many parts suffice. */
function cutInto(parts: bigint, sizeBytes: bigint): bigint {
  const bytes = parts * BigInt(MIB)
  return ((sizeBytes + bytes - 1n) / bytes) * BigInt(MIB)
}

/** Number of parts of an artifact: 0 for an empty one. */
export function countParts(sizeBytes: bigint, partSizeBytes: number): number {
  return Number((sizeBytes + BigInt(partSizeBytes) - 1n) / BigInt(partSizeBytes))
}

/** The range of part `number`; throws a `RangeError` when the artifact has no such part. */
export function rangeOfPart(sizeBytes: bigint, partSizeBytes: number, number: number): PartRange {
  const count = countParts(sizeBytes, partSizeBytes)
  if (!Number.isInteger(number) || number < 1 || number > count)
    throw new RangeError(`Cannot find part ${number}: the artifact has ${count} parts`)
  const offset = BigInt(number - 1) * BigInt(partSizeBytes)
  const rest = sizeBytes - offset
  return { number, offset, sizeBytes: rest < BigInt(partSizeBytes) ? Number(rest) : partSizeBytes }
}

/** All ranges in order; 10,000 at most by the limits above. */
export function planParts(sizeBytes: bigint, partSizeBytes: number): PartRange[] {
  const count = countParts(sizeBytes, partSizeBytes)
  return Array.from({ length: count }, (_, index) =>
    rangeOfPart(sizeBytes, partSizeBytes, index + 1),
  )
}
