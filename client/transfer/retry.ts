import { setTimeout as delay } from 'node:timers/promises'
import type { ArtifactError } from '../../schemas/problems.ts'
import type { Timing } from './connection.ts'
import { interrupted } from './interruption.ts'

/**
 * How long to wait before retry number `retry` (from 1), in milliseconds: a random time below a
 * bound that doubles ("full jitter", AWS Architecture Blog, "Exponential Backoff And Jitter"), or
 * what the server asked for, when that is longer, up to the largest bound.
 */
export function retryDelayMs(
  timing: Pick<Timing, 'retryFirstMs' | 'retryMaxMs'>,
  retry: number,
  error?: Pick<ArtifactError, 'retryAfterSeconds'>,
  random: () => number = Math.random,
): number {
  const bound = Math.min(timing.retryMaxMs, timing.retryFirstMs * 2 ** (retry - 1))
  const asked = (error?.retryAfterSeconds ?? 0) * 1000
  return Math.max(random() * bound, Math.min(asked, timing.retryMaxMs))
}

/** Whether whoever is asked has too much to do (S3 says `SlowDown`), so that fewer should ask at once. */
export function isCrowded({ code }: Pick<ArtifactError, 'code'>): boolean {
  return code === 'overloaded' || code === 'store_unavailable'
}

/** Waits; throws `interrupted` when a signal fires meanwhile. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal })
  } catch (error) {
    throw interrupted(signal?.aborted === true ? signal.reason : error)
  }
}
