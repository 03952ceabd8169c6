/** How often somebody may try to sign in and fail: a bucket per address, in the memory of this process. */
import type { Clock } from '../clock.ts'

export interface AttemptLimit {
  /** Seconds until this address may try again; 0 when it may now. */
  waitSeconds(address: string): number
  /** Notes a failure of this address. */
  fail(address: string): void
}

/** Failures in a row that are let pass. */
const FAILURES_MAX = 10
/** One failure is forgotten in this time. */
const FORGET_MS = 6_000
/** Addresses that are remembered; beyond that the longest unseen is forgotten. */
const ADDRESSES_MAX = 10_000

/** A limit that has seen nobody. */
export function createAttemptLimit(clock: Clock): AttemptLimit {
  /** When the bucket of an address will be empty again, in milliseconds. */
  const emptyAt = new Map<string, number>()
  return {
    waitSeconds(address) {
      const now = clock().getTime()
      const full = (emptyAt.get(address) ?? 0) - now - (FAILURES_MAX - 1) * FORGET_MS
      return Math.max(0, Math.ceil(full / 1000))
    },
    fail(address) {
      const now = clock().getTime()
      const until = Math.max(now, emptyAt.get(address) ?? 0) + FORGET_MS
      emptyAt.delete(address)
      emptyAt.set(address, until)
      const [oldest] = emptyAt.keys()
      if (emptyAt.size > ADDRESSES_MAX && oldest !== undefined) emptyAt.delete(oldest)
    },
  }
}
