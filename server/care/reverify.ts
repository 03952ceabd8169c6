/**
 * What was sealed is looked at again: the bytes in the store are read and hashed, the artifact that
 * was not looked at for the longest time first. The seal counts as the first look. Among any number
 * of servers one reads, one object at a time, so that the speed it is given is that of all together.
 */
import { setTimeout } from 'node:timers/promises'
import { ArtifactError } from '../../schemas/problems.ts'
import type { VerificationOutcome } from '../../schemas/verification.ts'
import type { Clock } from '../clock.ts'
import { listStatements } from '../log/statements.ts'
import { findArtifact, findParts, type StoredArtifact } from '../records/artifacts.ts'
import type { AnySql, Sql } from '../records/database.ts'
import {
  endTurns,
  findTurn,
  holdTurns,
  insertVerification,
  type NewVerification,
  type Turn,
} from '../records/verification.ts'
import { checkStored, type RereadListener, storedBytes } from '../seal/reread.ts'
import type { Store } from '../stores/store.ts'

export interface ReverifyParts {
  sql: Sql
  store: Pick<Store, 'read' | 'stat'> & Partial<Pick<Store, 'digest'>>
  clock: Clock
  /** Names this process in what it records. */
  server: string
  /** Waits, and throws when `signal` fires [a timer]. */
  pause?: (ms: number, signal: AbortSignal) => Promise<unknown>
  /** Called when bytes differed as this says, and agreed when they were read once more [nobody]. */
  onMisread?: (turn: Turn, error: ArtifactError) => void
}

export interface ReverifySettings {
  /** Everything is looked at again after this long; 0: never. */
  days: number
  /** Read from the store at most this fast, on average over an object. */
  bytesPerSecond: number
  /** How long to wait when there is nothing to do. */
  idleSeconds: number
}

/** One look, or why there was none: nothing is due, or another server is at it. */
export type ReverifyStep =
  | { kind: 'seen'; turn: Turn; seen: NewVerification }
  | { kind: 'removed'; turn: Turn }
  | { kind: 'setback'; turn: Turn; cause: unknown }
  | { kind: 'idle' }
  | { kind: 'busy' }

const DAY_MS = 86_400_000
/** After trouble that passes, an object is left alone this long. */
const SETBACK_MS = 3_600_000

/** Looks again as long as it runs. */
export interface Reverifier extends AsyncDisposable {
  /** Takes the next turn, if one is due, and tells what came of it. Throws what the database throws. */
  step(): Promise<ReverifyStep>
}

/** Makes one that does nothing until it is told to; disposing of it breaks off what it reads. */
export function createReverifier(parts: ReverifyParts, settings: ReverifySettings): Reverifier {
  const stop = new AbortController()
  /** Until when objects with trouble are left alone, by the index of their leaf. */
  const setbacks = new Map<number, number>()
  const running = new Set<Promise<unknown>>()

  const take = async (held: AnySql): Promise<ReverifyStep> => {
    const now = parts.clock().getTime()
    for (const [idx, until] of setbacks) if (until <= now) setbacks.delete(idx)
    const before = new Date(now - settings.days * DAY_MS)
    const turn = await findTurn(held, before, [...setbacks.keys()])
    if (turn === undefined) return { kind: 'idle' }
    try {
      return await look(parts, held, turn, settings.bytesPerSecond, stop.signal)
    } catch (cause) {
      stop.signal.throwIfAborted()
      setbacks.set(turn.idx, parts.clock().getTime() + SETBACK_MS)
      return { kind: 'setback', turn, cause }
    }
  }

  return {
    async step() {
      stop.signal.throwIfAborted()
      const step = holdTurns(parts.sql, take)
      running.add(step)
      try {
        return (await step) ?? { kind: 'busy' }
      } finally {
        running.delete(step)
      }
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await Promise.allSettled(running)
    },
  }
}

/** Steps until disposed of, at rest while nothing is due. `onStep` hears what came of every turn. */
export function startReverifying(
  parts: ReverifyParts,
  settings: ReverifySettings,
  onStep: (step: ReverifyStep) => void,
  onFault: (error: unknown) => void,
): AsyncDisposable {
  const stop = new AbortController()
  const reverifier = createReverifier(parts, settings)
  const rest = () =>
    setTimeout(settings.idleSeconds * 1000, undefined, { signal: stop.signal }).catch(
      () => undefined,
    )
  const run = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const step = await reverifier.step().catch((error: unknown) => {
        if (!stop.signal.aborted) onFault(error)
        return undefined
      })
      if (step !== undefined) onStep(step)
      if (step === undefined || step.kind === 'idle' || step.kind === 'busy') await rest()
    }
  }
  const done = settings.days === 0 ? Promise.resolve() : run()
  return {
    async [Symbol.asyncDispose]() {
      stop.abort()
      await reverifier[Symbol.asyncDispose]()
      await done
    },
  }
}

/** Reads what is stored and records the outcome. Throws when the trouble may pass: that is no outcome. */
async function look(
  { sql, store, clock, server, pause = pauseByTimer, onMisread }: ReverifyParts,
  held: AnySql,
  turn: Turn,
  bytesPerSecond: number,
  signal: AbortSignal,
): Promise<ReverifyStep> {
  const stored = await findArtifact(sql, turn.task, turn.run, turn.name)
  if (stored === undefined) throw new Error(`Leaf ${turn.idx} is without its record`)
  const began = performance.now()
  const pace = paced(bytesPerSecond, (ms) => pause(ms, signal))
  const reading = { ...pace, onMisread: (error: ArtifactError) => onMisread?.(turn, error) }
  const verdict = (await isRemoved(sql, turn))
    ? 'removed'
    : await judge(sql, store, stored, reading, signal)
  // Somebody may have removed the bytes while they were read.
  if (verdict === 'removed' || (verdict.outcome !== 'agreed' && (await isRemoved(sql, turn)))) {
    await endTurns(held, turn)
    return { kind: 'removed', turn }
  }
  const seconds = (performance.now() - began) / 1000
  const seen = { ...verdict, at: clock(), bytes: reading.bytes(), seconds, server }
  await insertVerification(held, turn, seen)
  return { kind: 'seen', turn, seen }
}

type Verdict = Pick<NewVerification, 'code' | 'expected' | 'found'> & {
  outcome: VerificationOutcome
}

const FAULTS: ReadonlySet<string> = new Set(['digest_mismatch', 'size_mismatch', 'part_mismatch'])

async function judge(
  sql: Sql,
  store: ReverifyParts['store'],
  stored: StoredArtifact,
  reading: RereadListener,
  signal: AbortSignal,
): Promise<Verdict> {
  const { artifact, blobKey, blobTag } = stored
  const claim = {
    sha256: artifact.sha256,
    sizeBytes: BigInt(artifact.sizeBytes),
    parts: (await findParts(sql, artifact)) ?? [],
  }
  const options = { expectedBytes: claim.sizeBytes, signal }
  const read = (tag: string) =>
    checkStored(storedBytes(store, blobKey, tag, options), claim, reading)
  try {
    await read(blobTag)
    return { outcome: 'agreed', code: undefined, expected: undefined, found: undefined }
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error
    if (error.code !== 'precondition_failed') return toVerdict(error)
    // Another object is in its place. What it holds is said more clearly by its size and digest.
    const blob = await store.stat(blobKey)
    if (blob === undefined) return { ...toVerdict(error), outcome: 'missing', code: 'blob_missing' }
    try {
      await read(blob.tag)
    } catch (closer) {
      if (closer instanceof ArtifactError) return toVerdict(closer)
      throw closer
    }
    // The bytes are right, and still no grant can read them: it names the old object.
    return { outcome: 'mismatch', code: error.code, expected: blobTag, found: blob.tag }
  }
}

/** Throws again what is no verdict. */
function toVerdict(error: ArtifactError): Verdict {
  const { code, expected, found } = error
  if (code === 'blob_missing') return { outcome: 'missing', code, expected, found }
  if (FAULTS.has(code)) return { outcome: 'mismatch', code, expected, found }
  throw error
}

async function isRemoved(sql: AnySql, turn: Turn): Promise<boolean> {
  return (await listStatements(sql, turn)).some(({ kind }) => kind === 'remove')
}

interface Pace {
  onProgress(bytes: bigint): Promise<void>
  /** Seen so far, of the last reading. */
  bytes(): bigint
}

/** Shorter waits than this are not worth a timer. */
const WAIT_MS_MIN = 20

const pauseByTimer = (ms: number, signal: AbortSignal) => setTimeout(ms, undefined, { signal })

/** Holds a reader back to a speed. */
function paced(bytesPerSecond: number, pause: (ms: number) => Promise<unknown>): Pace {
  let began = performance.now()
  let seen = 0n
  return {
    bytes: () => seen,
    async onProgress(bytes) {
      // It starts again from the first byte.
      if (bytes < seen) began = performance.now()
      seen = bytes
      const aheadMs = (Number(bytes) / bytesPerSecond) * 1000 - (performance.now() - began)
      if (aheadMs >= WAIT_MS_MIN) await pause(aheadMs)
    },
  }
}
