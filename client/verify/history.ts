/**
 * One history: whether a checkpoint that is offered belongs to the same log as the newest one that
 * was seen. A log that ever shows two histories has to answer for it with its own signatures.
 *
 * Evidence is kept as text. A note holds no tab, so whatever follows one is verbatim:
 *
 *     evidence = "artifact-log/v1 fork" LF "older" LF quoted "newer" LF quoted "proof" LF quoted
 *     quoted   = *(TAB line LF)           ; of the notes; of the proof, one hash in Base 64 per line
 *
 * For example, of a log with two heads of the same size, shortened:
 *
 *     artifact-log/v1 fork
 *     older
 *     →	example.com/log
 *     →	2
 *     …
 *     proof
 */
import { ArtifactError } from '../../schemas/problems.ts'
import { type OpenedCheckpoint, openCheckpoint } from './checkpoint.ts'
import { checkPrefix, EMPTY_ROOT, type Hash, isSameHash, rootsOfConsistency } from './merkle.ts'
import type { Policy } from './policy.ts'
import { parseHash } from './proof.ts'
import { formatBase64 } from './strict-text.ts'

const HEADER = 'artifact-log/v1 fork'

/** How an offered checkpoint relates to the one that was seen. */
export type Relation =
  /** The very same tree. */
  | { outcome: 'same' }
  /** It continues what was seen: remember it. */
  | { outcome: 'newer' }
  /** It is the beginning of what was seen: a stale answer, or a rollback if it is the newest there is. */
  | { outcome: 'older' }

/** What convicts a log: two heads that it signed, and the proof that does not join them. */
export interface ForkEvidence {
  /** The signed note of the smaller tree. */
  older: string
  newer: string
  /** What was offered as a proof; empty when the sizes are equal. */
  proof: readonly Hash[]
}

/** A log showed two histories. */
export class ForkError extends ArtifactError {
  readonly evidence: ForkEvidence

  constructor(message: string, evidence: ForkEvidence, cause: ArtifactError) {
    super('log_fork', message, { expected: cause.expected, found: cause.found, cause })
    this.evidence = evidence
  }
}

/**
 * Decides how `offered` relates to `seen`, two checkpoints of one origin that a policy accepted.
 * Asks for a proof only when one is needed, and throws what the asking throws; throws a
 * {@link ForkError} when the two cannot both be heads of one log that only grows.
 *
 * A proof made from tiles that were checked against `newer` makes the evidence complete. One that
 * came from somebody may be a mere lie: two signatures, and nothing that joins them.
 */
export async function relateCheckpoints(
  seen: OpenedCheckpoint,
  offered: OpenedCheckpoint,
  proveConsistency: (older: OpenedCheckpoint, newer: OpenedCheckpoint) => Promise<readonly Hash[]>,
): Promise<Relation> {
  if (seen.origin !== offered.origin)
    throw new RangeError(`Cannot relate ${offered.origin} to ${seen.origin}: they are two logs`)
  const isOlder = offered.size < seen.size
  const [older, newer] = isOlder ? [offered, seen] : [seen, offered]
  const proof = needsProof(older, newer) ? await proveConsistency(older, newer) : []
  checkHistory(older, newer, proof)
  if (older.size === newer.size) return { outcome: 'same' }
  return { outcome: isOlder ? 'older' : 'newer' }
}

/** Whether it takes a proof to show that one tree is the beginning of the other. */
export function needsProof(older: { size: number }, newer: { size: number }): boolean {
  return older.size > 0 && older.size < newer.size
}

/**
 * Throws a {@link ForkError} unless the proof shows `older` to be the beginning of `newer`; a
 * `RangeError` when it is the larger one, which convicts nobody.
 */
export function checkHistory(
  older: OpenedCheckpoint,
  newer: OpenedCheckpoint,
  proof: readonly Hash[],
): void {
  if (older.size > newer.size)
    throw new RangeError(`Cannot begin the log of ${newer.size} with that of ${older.size}`)
  try {
    checkPrefix(older, newer, proof)
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error
    const heads = `${older.origin} at ${older.size} and at ${newer.size}`
    throw new ForkError(
      `Cannot trust the log: nothing joins the signed heads of ${heads}`,
      { older: older.note, newer: newer.note, proof },
      error,
    )
  }
}

/** The text of some evidence, to be kept and shown. */
export function formatEvidence({ older, newer, proof }: ForkEvidence): string {
  const lines = proof.map((hash) => `${formatBase64(hash)}\n`).join('')
  return `${HEADER}\nolder\n${quote(older)}newer\n${quote(newer)}proof\n${quote(lines)}`
}

/** The inverse of {@link formatEvidence}; throws `log_malformed`. */
export function parseEvidence(text: string): ForkEvidence {
  const quoted = '(?:\t[^\n]*\n)'
  const form = new RegExp(`^${HEADER}\nolder\n(${quoted}+)newer\n(${quoted}+)proof\n(${quoted}*)$`)
  const [, older, newer, lines] = form.exec(text) ?? []
  if (older === undefined || newer === undefined || lines === undefined)
    throw new ArtifactError('log_malformed', 'Cannot read the evidence: it is none', {
      expected: HEADER,
      found: JSON.stringify(text.slice(0, 100)),
    })
  const proof = unquote(lines).split('\n').slice(0, -1).map(parseHash)
  return { older: unquote(older), newer: unquote(newer), proof }
}

/**
 * What evidence proves to somebody who trusts nobody but the keys:
 *
 * - `fork`: the log signed two histories, beyond doubt;
 * - `unproven`: it signed both heads, and the proof joins them to nothing; that can be the fault of
 *   whoever gave the proof;
 * - `none`: the two heads are of one history.
 *
 * Throws what {@link openCheckpoint} throws when the notes are not signed as the policy asks, and
 * `log_malformed` when they are not two heads of one log, the smaller one first.
 */
export function judgeEvidence(
  { older, newer, proof }: ForkEvidence,
  policy: Policy,
): 'fork' | 'unproven' | 'none' {
  const [one, other] = [openCheckpoint(older, policy), openCheckpoint(newer, policy)]
  if (one.origin !== other.origin || one.size > other.size)
    throw new ArtifactError(
      'log_malformed',
      'Cannot judge the evidence: it compares what cannot be',
      {
        expected: 'two heads of one log, the smaller one first',
        found: `${one.origin} at ${one.size}, ${other.origin} at ${other.size}`,
      },
    )
  if (one.size === other.size) return isSameHash(one.root, other.root) ? 'none' : 'fork'
  if (one.size === 0) return isSameHash(one.root, EMPTY_ROOT) ? 'none' : 'fork'
  const roots = rootsOfConsistency(one, other.size, proof)
  if (roots === undefined || !isSameHash(roots.newer, other.root)) return 'unproven'
  return isSameHash(roots.older, one.root) ? 'none' : 'fork'
}

// By line feeds alone: to a regular expression other characters end lines too.
const quote = (text: string) =>
  text
    .split('\n')
    .map((line, at, lines) => (at === lines.length - 1 ? line : `\t${line}`))
    .join('\n')

const unquote = (text: string) =>
  text
    .split('\n')
    .map((line) => line.slice(1))
    .join('\n')
