/**
 * Signed notes (C2SP signed-note v1.0.0): a text and signatures over it, readable as they are.
 *
 *     note      = text LF 1*signature
 *     text      = *(*char LF)               ; at least one line; it may have empty ones
 *     signature = U+2014 " " name " " base64(key id (4 bytes) || signature) LF
 *     char      = any character from U+0020 on, in well-formed UTF-8
 *
 * The last empty line ends the text. For example:
 *
 *     This is an example message.
 *
 *     — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
 */
import { ArtifactError } from '../../schemas/problems.ts'
import { isKeyName, type NoteKey, type NoteSigner, type Verdict } from './note-key.ts'
import { decodeText, formatBase64, parseBase64 } from './strict-text.ts'

/** Longest note, and most signatures on one, as Go has them; 16 signatures must be taken. */
export const NOTE_BYTES_MAX = 1_000_000
export const NOTE_SIGNATURES_MAX = 100

const DASH = '\u2014'
const ID_BYTES = 4

/** One signature line. */
export interface NoteSignature {
  name: string
  /** 8 lower-case hexadecimal digits. */
  id: string
  signature: Uint8Array
}

export interface SignedNote {
  /** Ends in LF. */
  text: string
  /** In the order of the note; at least one. */
  signatures: NoteSignature[]
}

/** A signature that holds, and by whom. */
export interface VerifiedSignature extends Verdict {
  key: NoteKey
}

/** Reads a note without judging its signatures; throws `log_malformed`. */
export function parseNote(source: string | Uint8Array): SignedNote {
  if (source.length > NOTE_BYTES_MAX) throw malformed(`at most ${NOTE_BYTES_MAX} bytes`)
  const note = decodeText(source)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  if (note === undefined || /[\u0000-\u0009\u000b-\u001f]/.test(note))
    throw malformed('UTF-8 without control characters')
  // The last empty line, since a text may have some: another reader would see another text.
  const end = note.lastIndexOf('\n\n')
  if (end < 0 || !note.endsWith('\n')) throw malformed('a text, an empty line, signature lines')
  const lines = note.slice(end + 2, -1).split('\n')
  if (lines.length > NOTE_SIGNATURES_MAX)
    throw malformed(`at most ${NOTE_SIGNATURES_MAX} signatures`)
  return { text: note.slice(0, end + 1), signatures: lines.map(parseSignature) }
}

/** The inverse of {@link parseNote}; throws `log_malformed` for what it would not read back. */
export function formatNote({ text, signatures }: SignedNote): string {
  const lines = signatures.map(({ name, id, signature }) => {
    const bytes = Buffer.concat([Buffer.from(id, 'hex'), signature])
    return `${DASH} ${name} ${formatBase64(bytes)}\n`
  })
  const note = `${text}\n${lines.join('')}`
  if (parseNote(note).text !== text) throw malformed('a text that ends in a line feed')
  return note
}

/** The note of `text` with one signature by every signer, in their order. */
export function signNote(
  text: string,
  signers: readonly NoteSigner[],
  timeSeconds?: number,
): string {
  return formatNote({ text, signatures: signers.map((one) => signText(text, one, timeSeconds)) })
}

/** One signature over `text`; a cosignature needs the time, in seconds since 1970. */
export function signText(text: string, signer: NoteSigner, timeSeconds?: number): NoteSignature {
  const { name, id } = signer.key
  return { name, id, signature: signer.sign(text, timeSeconds) }
}

/** The note with one more signature, after the others: what a witness adds. */
export function addSignature(note: SignedNote, signature: NoteSignature): SignedNote {
  return { text: note.text, signatures: [...note.signatures, signature] }
}

/**
 * The signatures by keys that are known, all of which must hold: throws `log_signature` for one that
 * does not. Those by unknown keys are passed over, even when they share the name or the id of a
 * known one. Whether those that remain suffice, the caller decides: there may be none.
 */
export function verifySignatures(note: SignedNote, keys: readonly NoteKey[]): VerifiedSignature[] {
  return note.signatures.flatMap(({ name, id, signature }) => {
    const known = keys.filter((key) => key.name === name && key.id === id)
    return known.map((key) => {
      const verdict = key.verify(note.text, signature)
      if (verdict !== undefined) return { key, ...verdict }
      throw new ArtifactError(
        'log_signature',
        `Cannot trust the note: the signature by ${name} does not hold`,
        { expected: `a signature by key ${id}` },
      )
    })
  })
}

function parseSignature(line: string): NoteSignature {
  const [dash, name, encoded, ...rest] = line.split(' ')
  const bytes = parseBase64(encoded ?? '')
  if (dash !== DASH || !isKeyName(name ?? '') || bytes === undefined || rest.length > 0)
    throw malformed('signature lines of dash, name and Base 64', line)
  if (bytes.length <= ID_BYTES) throw malformed('a key id and a signature', line)
  const id = Buffer.from(bytes.subarray(0, ID_BYTES)).toString('hex')
  return { name: name ?? '', id, signature: bytes.subarray(ID_BYTES) }
}

function malformed(expected: string, found?: string): ArtifactError {
  return new ArtifactError('log_malformed', 'Cannot read the note: it is not a signed note', {
    expected,
    ...(found === undefined ? {} : { found: JSON.stringify(found.slice(0, 100)) }),
  })
}
