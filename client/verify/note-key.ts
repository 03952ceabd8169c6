/**
 * Keys of signed notes (C2SP signed-note v1.0.0, "Verifier keys"), Ed25519 alone (RFC 8032).
 *
 *     verifier key = name "+" key id "+" base64(type || public key)
 *     signer key   = "PRIVATE+KEY+" name "+" key id "+" base64(type || seed)
 *     key id       = 8 lower-case hexadecimal digits of SHA-256(name || 0x0A || type || public key)[:4]
 *     type         = 0x01, a signature over the text of a note; a log signs so
 *                  / 0x04, a timestamped cosignature of a checkpoint; a witness signs so
 *     name         = 1*char                 ; no white space of Unicode, no "+", no control character
 *
 * For example `example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k`.
 *
 * People configure these keys, so what cannot be read is `usage`, and a signer key is never shown.
 */
import { createPrivateKey, createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'
import { ArtifactError } from '../../schemas/problems.ts'
import { formatBase64, parseBase64 } from './strict-text.ts'

/** First byte of a key: what is signed with it, and how. */
export const KEY_TYPES = { note: 1, cosignature: 4 } as const
export type KeyKind = keyof typeof KEY_TYPES

const KEY_BYTES = 32
const SIGNATURE_BYTES = 64
const STAMP_BYTES = 8
const NAME_LENGTH_MAX = 255
/** What DER puts before an Ed25519 key (RFC 8410, sections 4 and 7). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

/** What a signature says once it is verified. */
export interface Verdict {
  /** When a witness cosigned, in seconds since 1970; absent for the signature of a log. */
  timeSeconds?: number
}

/** A public key with a name. */
export interface NoteKey {
  readonly name: string
  /** 8 lower-case hexadecimal digits. */
  readonly id: string
  readonly kind: KeyKind
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** The verdict on a signature over `text`; `undefined` when it is not one by this key. */
  verify(text: string, signature: Uint8Array): Verdict | undefined
}

/** A private key with a name. */
export interface NoteSigner {
  readonly key: NoteKey
  /** The signature over `text`; a cosignature needs the time of signing, in seconds since 1970. */
  sign(text: string, timeSeconds?: number): Uint8Array
}

/** A key from its 32 bytes; throws `usage` for a name that a note cannot carry, or another length. */
export function createNoteKey(name: string, kind: KeyKind, publicKey: Uint8Array): NoteKey {
  if (!isKeyName(name) || publicKey.length !== KEY_BYTES)
    throw new ArtifactError('usage', 'Cannot use the log key: its name or length is wrong', {
      expected: 'a name without spaces and "+", and 32 bytes',
      found: `${JSON.stringify(name.slice(0, 100))}, ${publicKey.length} bytes`,
    })
  const spki = Buffer.concat([SPKI_PREFIX, publicKey])
  const key = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  return {
    name,
    id: keyIdOf(name, kind, publicKey),
    kind,
    publicKey,
    verify: (text, signature) =>
      (kind === 'note' ? verifyNote : verifyCosignature)(key, text, signature),
  }
}

/** Reads a verifier key; throws `usage`. Another type than Ed25519 is not supported. */
export function parseNoteKey(text: string): NoteKey {
  const { name, id, kind, bytes } = parseKey(text, /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/)
  const key = createNoteKey(name, kind, bytes)
  if (key.id === id) return key
  throw new ArtifactError('usage', 'Cannot use the log key: its id does not fit it', {
    expected: key.id,
    found: id,
  })
}

/** The inverse of {@link parseNoteKey}. */
export function formatNoteKey({ name, id, kind, publicKey }: NoteKey): string {
  return `${name}+${id}+${formatBase64(Buffer.from([KEY_TYPES[kind], ...publicKey]))}`
}

/** SHA-256 of a public key, in the way of ssh. */
export function formatFingerprint({ publicKey }: NoteKey): string {
  return `SHA256:${hash('sha256', publicKey, 'base64').replace(/=+$/, '')}`
}

/** A signer from a seed of 32 secret random bytes; throws `usage` as {@link createNoteKey} does. */
export function createNoteSigner(name: string, kind: KeyKind, seed: Uint8Array): NoteSigner {
  if (seed.length !== KEY_BYTES)
    throw new ArtifactError('usage', 'Cannot use the signer key: its length is wrong')
  const pkcs8 = Buffer.concat([PKCS8_PREFIX, seed])
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  const key = createNoteKey(name, kind, spki.subarray(SPKI_PREFIX.length))
  return {
    key,
    sign: (text, timeSeconds) =>
      kind === 'note'
        ? sign(null, Buffer.from(text), privateKey)
        : signCosignature(privateKey, text, timeSeconds),
  }
}

/** Reads a signer key; throws `usage`, and shows nothing of it. */
export function parseNoteSigner(text: string): NoteSigner {
  const form = /^PRIVATE\+KEY\+([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/
  const { name, id, kind, bytes } = parseKey(text, form)
  const signer = createNoteSigner(name, kind, bytes)
  if (signer.key.id === id) return signer
  throw new ArtifactError('usage', 'Cannot use the signer key: its id does not fit it')
}

/** The inverse of {@link parseNoteSigner}: a secret. */
export function formatNoteSigner(name: string, kind: KeyKind, seed: Uint8Array): string {
  const { key } = createNoteSigner(name, kind, seed)
  return `PRIVATE+KEY+${name}+${key.id}+${formatBase64(Buffer.from([KEY_TYPES[kind], ...seed]))}`
}

/** Whether a note can carry the name. */
export function isKeyName(name: string): boolean {
  return (
    name.length <= NAME_LENGTH_MAX &&
    name.isWellFormed() &&
    /^[^+\p{White_Space}\p{Cc}]+$/u.test(name)
  )
}

function parseKey(text: string, form: RegExp) {
  const [, name = '', id = '', encoded = ''] = form.exec(text) ?? []
  const bytes = parseBase64(encoded)
  const kind = (['note', 'cosignature'] as const).find((one) => KEY_TYPES[one] === bytes?.[0])
  if (!isKeyName(name) || bytes?.length !== 1 + KEY_BYTES || kind === undefined)
    throw new ArtifactError(
      'usage',
      'Cannot read the key: it is not an Ed25519 key of a signed note',
      {
        expected: 'NAME+KEYID+BASE64 with type 1 (log) or 4 (witness)',
      },
    )
  return { name, id, kind, bytes: bytes.subarray(1) }
}

function keyIdOf(name: string, kind: KeyKind, publicKey: Uint8Array): string {
  const bytes = Buffer.concat([Buffer.from(`${name}\n`), Buffer.of(KEY_TYPES[kind]), publicKey])
  return hash('sha256', bytes, 'hex').slice(0, 8)
}

function verifyNote(key: KeyObject, text: string, signature: Uint8Array): Verdict | undefined {
  const isGood =
    signature.length === SIGNATURE_BYTES && verify(null, Buffer.from(text), key, signature)
  return isGood ? {} : undefined
}

/** C2SP tlog-cosignature, "Ed25519 signed message": u64 seconds, then the signature. */
function verifyCosignature(key: KeyObject, text: string, stamped: Uint8Array): Verdict | undefined {
  if (stamped.length !== STAMP_BYTES + SIGNATURE_BYTES) return undefined
  const timeSeconds = Number(Buffer.from(stamped).readBigUInt64BE())
  if (!Number.isSafeInteger(timeSeconds)) return undefined
  const message = formatCosigned(text, timeSeconds)
  return verify(null, message, key, stamped.subarray(STAMP_BYTES)) ? { timeSeconds } : undefined
}

function signCosignature(
  key: KeyObject,
  text: string,
  timeSeconds: number | undefined,
): Uint8Array {
  if (timeSeconds === undefined || !Number.isSafeInteger(timeSeconds) || timeSeconds < 0)
    throw new RangeError(`Cannot cosign at ${timeSeconds}: expected seconds since 1970`)
  const stamp = Buffer.alloc(STAMP_BYTES)
  stamp.writeBigUInt64BE(BigInt(timeSeconds))
  return Buffer.concat([stamp, sign(null, formatCosigned(text, timeSeconds), key)])
}

const formatCosigned = (text: string, timeSeconds: number) =>
  Buffer.from(`cosignature/v1\ntime ${timeSeconds}\n${text}`)
