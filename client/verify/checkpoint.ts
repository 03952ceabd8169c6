/**
 * Checkpoints: signed heads of a log (C2SP tlog-checkpoint v1.0.0). The text of the note is
 *
 *     text   = origin LF size LF root LF *(extension LF)
 *     origin = 1*char                     ; here it is also the name of the key of the log
 *     size   = decimal, no leading zeros
 *     root   = Base 64 of 32 bytes
 *
 * For example, before the signatures:
 *
 *     example.com/behind-the-sofa
 *     20852163
 *     CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
 *
 * Extension lines must not be empty, and nothing is ever read from them: nobody audits them.
 */
import { ArtifactError } from '../../schemas/problems.ts'
import { HASH_BYTES, isSize, type TreeHead } from './merkle.ts'
import type { NoteKey } from './note-key.ts'
import { isQuorum, type Policy, type PolicyWitness } from './policy.ts'
import { parseNote, type VerifiedSignature, verifySignatures } from './signed-note.ts'
import { decodeText, formatBase64, parseBase64, parseDecimal } from './strict-text.ts'

/** What a log says of itself at one moment. */
export interface Checkpoint extends TreeHead {
  /** Which log. */
  origin: string
}

/** A cosignature that holds. */
export interface Cosignature {
  witness: PolicyWitness
  /** When the witness saw this head as the newest, in seconds since 1970. */
  timeSeconds: number
}

/** A checkpoint that a policy accepts. */
export interface OpenedCheckpoint extends Checkpoint {
  /** The signed note, as it came: the evidence. */
  note: string
  /** The key of the log that signed it. */
  key: NoteKey
  /** By witnesses of the policy. */
  cosignatures: readonly Cosignature[]
}

/** The text to sign; throws a `RangeError` for a head that is none. */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  if (!isSize(size) || root.length !== HASH_BYTES || !isOrigin(origin))
    throw new RangeError(`Cannot write a checkpoint of ${JSON.stringify(origin)} at ${size}`)
  return `${origin}\n${size}\n${formatBase64(root)}\n`
}

/** Reads the text of a checkpoint; throws `log_malformed`. */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin = '', decimal = '', encoded = '', ...rest] = text.split('\n')
  const size = parseDecimal(decimal)
  const root = parseBase64(encoded)
  // The last piece is what follows the last line feed: nothing.
  const extensions = rest.slice(0, -1)
  if (
    !isOrigin(origin) ||
    size === undefined ||
    root?.length !== HASH_BYTES ||
    rest.at(-1) !== '' ||
    extensions.includes('')
  )
    throw new ArtifactError('log_malformed', 'Cannot read the checkpoint: it is none', {
      expected: 'lines of origin, size and root',
      found: JSON.stringify(text.slice(0, 200)),
    })
  return { origin, size, root }
}

/**
 * Opens a checkpoint that came from anywhere. Throws `log_malformed`; `log_signature` unless a log of
 * the policy with this very origin signed it and no known signature fails; `log_policy` when too few
 * witnesses cosigned.
 */
export function openCheckpoint(source: string | Uint8Array, policy: Policy): OpenedCheckpoint {
  const note = parseNote(source)
  const checkpoint = parseCheckpoint(note.text)
  const keys = [...policy.logs, ...policy.witnesses].map(({ key }) => key)
  const signatures = verifySignatures(note, keys)
  // A log of the policy speaks for its own origin only, not for another log of it.
  const log = policy.logs.find(
    ({ key }) => key.name === checkpoint.origin && signatures.some((one) => one.key === key),
  )
  if (log === undefined) throw unsigned(checkpoint, policy)
  const cosignatures = cosignaturesIn(signatures, policy)
  if (!isQuorum(policy, new Set(cosignatures.map(({ witness }) => witness.name))))
    throw new ArtifactError(
      'log_policy',
      `Cannot trust the head of ${checkpoint.origin} at ${checkpoint.size}: too few witnesses`,
      {
        expected: `quorum ${policy.quorum}`,
        found: cosignatures.map(({ witness }) => witness.name).join(', ') || 'no cosignature',
      },
    )
  return { ...checkpoint, note: decodeText(source) ?? '', key: log.key, cosignatures }
}

const isOrigin = (origin: string) => /^[^\n]+$/.test(origin)

function cosignaturesIn(signatures: readonly VerifiedSignature[], policy: Policy): Cosignature[] {
  return signatures.flatMap(({ key, timeSeconds }) => {
    const witness = policy.witnesses.find((one) => one.key === key)
    return witness === undefined || timeSeconds === undefined ? [] : [{ witness, timeSeconds }]
  })
}

function unsigned({ origin, size }: Checkpoint, policy: Policy): ArtifactError {
  return new ArtifactError(
    'log_signature',
    `Cannot trust the head of ${JSON.stringify(origin)} at ${size}: no key that is trusted signed it`,
    {
      expected:
        policy.logs.map(({ key }) => `${key.name}+${key.id}`).join(', ') || 'a log to trust',
      found: origin,
    },
  )
}
