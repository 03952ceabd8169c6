/** Runs a signer: a round after every batch, and now and then in any case. */
import { setTimeout as delay } from 'node:timers/promises'
import { formatNoteKey } from '../../client/verify/note-key.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { insertLogKey, listenForLog } from '../records/log.ts'
import { checkMemory, type SignerParts, signHead } from './signer.ts'

export interface SignerLoopOptions {
  /** Told of every head that was signed. */
  onSigned(note: string): void
  /** Told when something failed; `isAlarm` when the log itself is not what it was. */
  onFault(error: unknown, isAlarm: boolean): void
  /** At least so long between two heads, in ms, so that many batches share one [50]. */
  spacingMs?: number | undefined
}

const SPACING_MS = 50
/** A round happens at least this often, should a notice get lost. */
const POLL_MS = 2000

/**
 * Starts signing. Disposing of it ends after the round under way. A signer that finds the log
 * altered signs nothing, says so every time, and goes on only when the log is whole again.
 */
export async function startSigning(
  parts: SignerParts,
  options: SignerLoopOptions,
): Promise<AsyncDisposable> {
  const { spacingMs = SPACING_MS } = options
  await checkMemory(parts)
  await insertLogKey(parts.sql, parts.state.origin, formatNoteKey(parts.signer.key))
  const stop = new AbortController()
  let wake = Promise.withResolvers<void>()
  const subscription = await listenForLog(parts.sql, () => wake.resolve())

  // What comes after a quiet while is signed at once: somebody waits for it.
  let nextAt = 0
  async function sign(): Promise<void> {
    wake = Promise.withResolvers<void>()
    try {
      const note = await signHead(parts)
      if (note === undefined) return
      options.onSigned(note)
    } catch (error) {
      options.onFault(error, error instanceof ArtifactError && error.code.startsWith('log_'))
    }
    nextAt = performance.now() + spacingMs
  }

  async function run(): Promise<void> {
    while (!stop.signal.aborted) {
      const poll = delay(POLL_MS, undefined, { signal: stop.signal }).catch(() => undefined)
      await Promise.race([wake.promise, poll])
      const waitMs = nextAt - performance.now()
      if (waitMs > 0) await delay(waitMs, undefined, { signal: stop.signal }).catch(() => undefined)
      if (!stop.signal.aborted) await sign()
    }
  }

  // A log that has a key has a head, from the first moment on.
  await sign()
  const running = run()
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
      await subscription.unlisten()
    },
  }
}
