/**
 * A witness of logs (C2SP tlog-witness v1.0.0): it cosigns a head only if it continues the one that
 * it cosigned before. Whoever has its cosignature knows that nobody was shown another history.
 *
 *     request = "old " decimal LF *(base64 LF) LF checkpoint       ; at most 63 hashes
 *
 * For example, of a log that grew from 2 leaves to 3, with hashes and signature shortened:
 *
 *     old 2
 *     lqKW0iTy…
 *
 *     example.com/log
 *     3
 *     rrYH0Jj5…
 *
 *     — example.com/log Uw2QOkn8…
 *
 * The steps, each with the status of its refusal:
 *
 *     read (400) -> origin (404) -> signature (403) -> sizes (400) -> newest (409) -> history (422)
 *     -> names (422) -> persist (409) -> cosign (200)
 */
import { type Checkpoint, parseCheckpoint } from '../../client/verify/checkpoint.ts'
import { type ForkEvidence, judgeEvidence } from '../../client/verify/history.ts'
import { checkPrefix, type Hash, PROOF_HASHES_MAX } from '../../client/verify/merkle.ts'
import type { NoteKey, NoteSigner } from '../../client/verify/note-key.ts'
import { parseHash } from '../../client/verify/proof.ts'
import {
  formatNote,
  type NoteSignature,
  parseNote,
  type SignedNote,
  signText,
  verifySignatures,
} from '../../client/verify/signed-note.ts'
import { decodeText, parseDecimal } from '../../client/verify/strict-text.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { WitnessState } from './witness-state.ts'

const HASHES_MAX = Math.max(63, PROOF_HASHES_MAX)

export interface WitnessParts {
  state: WitnessState
  signer: NoteSigner
  /** Keys of the logs that are witnessed; the name of a key is the origin of its log. */
  logs: readonly NoteKey[]
  clock: () => Date
  /**
   * Reads the log up to a head and throws `log_record` or `log_fork` for what must not be cosigned,
   * anything else when it cannot be read now. Absent: the history alone is checked.
   */
  audit?: ((head: Checkpoint) => Promise<void>) | undefined
  /** Keeps what convicts a log: two heads that it signed and that cannot be of one history. */
  onEvidence(evidence: ForkEvidence): Promise<void>
}

export interface WitnessReply {
  status: 200 | 400 | 403 | 404 | 409 | 422 | 503
  contentType: 'text/plain; charset=utf-8' | 'text/x.tlog.size'
  body: string
}

/** Answers one request; throws only when the memory fails, and nothing was cosigned then. */
export async function addCheckpoint(parts: WitnessParts, body: Uint8Array): Promise<WitnessReply> {
  const request = readRequest(body)
  if (request === undefined) return refuse(400, 'expected old size, proof, empty line, checkpoint')
  const { old, note, head } = request
  const keys = parts.logs.filter((key) => key.name === head.origin)
  if (keys.length === 0) return refuse(404, 'this witness does not know the log')
  const signatures = signaturesBy(keys, note)
  if (signatures === undefined) return refuse(403, 'no key of the log signed it')
  if (old > head.size) return refuse(400, 'the old size is larger than the checkpoint')
  const known = parts.state.findHead(head.origin)
  if (old !== (known?.size ?? 0)) return conflict(known?.size ?? 0)
  const before = known === undefined ? undefined : parseNote(known.note)
  const fault = await judge(parts, { ...request, note: { text: note.text, signatures }, before })
  if (fault !== undefined) return fault
  const time = Math.floor(parts.clock().getTime() / 1000)
  const cosignature = signText(note.text, parts.signer, time)
  const cosigned = formatNote({ text: note.text, signatures: [...signatures, cosignature] })
  // One statement that compares and writes: of two heads at once only one continues what was seen.
  const isKept = parts.state.swapHead(head.origin, old, { size: head.size, note: cosigned })
  if (!isKept) return conflict(parts.state.findHead(head.origin)?.size ?? 0)
  const lines = formatNote({ text: note.text, signatures: [cosignature] })
  return {
    status: 200,
    contentType: 'text/plain; charset=utf-8',
    body: lines.slice(note.text.length + 1),
  }
}

interface WitnessRequest {
  old: number
  proof: Hash[]
  note: SignedNote
  head: Checkpoint
}

function readRequest(body: Uint8Array): WitnessRequest | undefined {
  const text = decodeText(body)
  const end = text?.indexOf('\n\n') ?? -1
  if (text === undefined || end < 0) return undefined
  const [first = '', ...lines] = text.slice(0, end).split('\n')
  const old = first.startsWith('old ') ? parseDecimal(first.slice('old '.length)) : undefined
  if (old === undefined || lines.length > HASHES_MAX) return undefined
  try {
    const note = parseNote(text.slice(end + 2))
    return { old, proof: lines.map(parseHash), note, head: parseCheckpoint(note.text) }
  } catch (error) {
    if (error instanceof ArtifactError) return undefined
    throw error
  }
}

/** The signatures by keys of the log, all of which hold; `undefined` when there are none. */
function signaturesBy(keys: readonly NoteKey[], note: SignedNote): NoteSignature[] | undefined {
  try {
    const verified = verifySignatures(note, keys)
    const own = note.signatures.filter(({ name, id }) =>
      verified.some(({ key }) => key.name === name && key.id === id),
    )
    return own.length === 0 ? undefined : own
  } catch (error) {
    if (error instanceof ArtifactError) return undefined
    throw error
  }
}

/** Whether the head continues the one before, and its leaves keep to the rules. */
async function judge(
  parts: WitnessParts,
  { head, proof, note, before }: WitnessRequest & { before: SignedNote | undefined },
): Promise<WitnessReply | undefined> {
  try {
    if (before !== undefined) checkPrefix(parseCheckpoint(before.text), head, proof)
    else if (proof.length > 0)
      return refuse(422, 'nothing was seen before: there is nothing to prove')
  } catch (error) {
    if (!(error instanceof ArtifactError) || before === undefined) throw error
    await convict(parts, { older: formatNote(before), newer: formatNote(note), proof })
    return refuse(422, 'the proof does not join it to the head that was seen')
  }
  try {
    await parts.audit?.(head)
    return undefined
  } catch (error) {
    if (error instanceof ArtifactError && ['log_record', 'log_fork'].includes(error.code))
      return refuse(422, error.message)
    return refuse(503, 'the entries of the log cannot be read now')
  }
}

/** A proof that leads nowhere convicts nobody: anybody can send one with a head of the log. */
async function convict(parts: WitnessParts, evidence: ForkEvidence): Promise<void> {
  const logs = parts.logs.map((key) => ({ key }))
  const policy = { logs, witnesses: [], groups: [], quorum: 'none' }
  if (judgeEvidence(evidence, policy) === 'fork') await parts.onEvidence(evidence)
}

function refuse(status: Exclude<WitnessReply['status'], 200>, reason: string): WitnessReply {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${reason}\n` }
}

function conflict(size: number): WitnessReply {
  return { status: 409, contentType: 'text/x.tlog.size', body: `${size}\n` }
}
