/**
 * Lock files: what a repository commits, so that a machine without memory gets what it got before.
 *
 *     lock       = "artifact-lock/v1" LF [ log ] *artifact
 *     log        = "key " verifier-key LF "checkpoint" LF 1*(TAB line LF)    ; the signed note
 *     artifact   = "artifact sha256:" 64HEXDIG " " size " " reference LF     ; size in bytes
 *     reference  = task "/" run "/" name                                     ; run is a number
 *
 * Lines of artifacts are in the order of the bytes of their references, each of which comes once, so
 * that branches merge well. For example, with key and signature shortened:
 *
 *     artifact-lock/v1
 *     key example.com/log+530d903a+AekyeRrm…
 *     checkpoint
 *     →	example.com/log
 *     →	2
 *     →	+sVCA+ek/7M3Ee05ZN3X+7JCBVpCqW3TVkp6s0IAq3g=
 *     →
 *     →	— example.com/log Uw2QOkn8…
 *     artifact sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 turtle-db/7/db.dump
 *
 * A lock file only adds demands: a digest, a key, and a head that the log must continue.
 */
import type { Artifact } from '../../schemas/artifact.ts'
import { ByteCount, Sha256 } from '../../schemas/primitives.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { parseReference } from '../../schemas/reference.ts'
import { openCheckpoint } from '../verify/checkpoint.ts'
import { formatNoteKey, parseNoteKey } from '../verify/note-key.ts'
import { trustLog } from '../verify/policy.ts'
import { decodeText } from '../verify/strict-text.ts'
import type { Anchor } from './history.ts'

const HEADER = 'artifact-lock/v1'

/** What an artifact has to be. */
export interface Pin {
  sha256: string
  /** Decimal. */
  sizeBytes: string
}

export interface LockFile {
  /** Absent when the server had no log. */
  anchor: Anchor | undefined
  /** By `task/run/name`. */
  pins: ReadonlyMap<string, Pin>
}

/** A lock file that pins nothing yet. */
export const EMPTY_LOCK: LockFile = { anchor: undefined, pins: new Map() }

/** The text of a lock file; equal facts have equal texts. */
export function formatLock({ anchor, pins }: LockFile): string {
  const lines = [...pins]
    .map(([reference, pin]) => ({ bytes: Buffer.from(reference), line: formatPin(reference, pin) }))
    .sort((one, other) => Buffer.compare(one.bytes, other.bytes))
    .map(({ line }) => line)
  return [`${HEADER}\n`, anchor === undefined ? '' : formatAnchor(anchor), ...lines].join('')
}

/**
 * The inverse of {@link formatLock}. Throws `configuration` with the number of the line, also for a
 * head that the key has not signed: the file was damaged, or merged by hand.
 */
export function parseLock(source: string | Uint8Array): LockFile {
  const lines = (decodeText(source) ?? '').split('\n')
  if (lines[0] !== HEADER || lines.at(-1) !== '')
    throw unreadable(1, `it must begin with ${HEADER}`)
  const { anchor, next } = parseAnchor(lines)
  const pins = new Map<string, Pin>()
  let before: Buffer | undefined
  for (let at = next; at < lines.length - 1; at += 1) {
    const { reference, pin } = parsePin(lines[at] ?? '', at + 1)
    const bytes = Buffer.from(reference)
    if (before !== undefined && Buffer.compare(before, bytes) >= 0)
      throw unreadable(at + 1, 'artifacts must be in order, each once')
    before = bytes
    pins.set(reference, pin)
  }
  return { anchor, pins }
}

/** Throws `not_pinned` for an artifact that the lock does not have, `digest_mismatch` for another one. */
export function checkPin(
  pins: LockFile['pins'],
  record: Pick<Artifact, 'reference' | 'sha256' | 'sizeBytes'>,
): void {
  const pin = pins.get(record.reference)
  if (pin === undefined)
    throw new ArtifactError('not_pinned', `Cannot take ${record.reference}: it is not pinned`, {
      expected: 'an artifact that the lock file has',
    })
  if (pin.sha256 === record.sha256 && pin.sizeBytes === record.sizeBytes) return
  throw new ArtifactError(
    'digest_mismatch',
    `Cannot take ${record.reference}: it is not what the lock file pins`,
    { expected: describePin(pin), found: describePin(record) },
  )
}

/** A pin in words. */
export function describePin({ sha256, sizeBytes }: Pin): string {
  return `sha256 ${sha256}, ${sizeBytes} bytes`
}

function formatPin(reference: string, { sha256, sizeBytes }: Pin): string {
  return `artifact sha256:${sha256} ${sizeBytes} ${reference}\n`
}

function formatAnchor({ key, head }: Anchor): string {
  const lines = head.note.split('\n').slice(0, -1)
  return [
    `key ${formatNoteKey(key)}\n`,
    'checkpoint\n',
    ...lines.map((line) => `\t${line}\n`),
  ].join('')
}

function parseAnchor(lines: readonly string[]): { anchor: Anchor | undefined; next: number } {
  if (!lines[1]?.startsWith('key ')) return { anchor: undefined, next: 1 }
  if (lines[2] !== 'checkpoint') throw unreadable(3, 'expected checkpoint')
  let next = 3
  while (lines[next]?.startsWith('\t')) next += 1
  const note = lines.slice(3, next).map((line) => `${line.slice(1)}\n`)
  try {
    const key = parseNoteKey(lines[1].slice('key '.length))
    return { anchor: { key, head: openCheckpoint(note.join(''), trustLog(key)) }, next }
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error
    throw unreadable(2, error.message)
  }
}

function parsePin(line: string, number: number): { reference: string; pin: Pin } {
  const [, digest, size, reference = ''] =
    /^artifact sha256:([0-9a-f]+) ([0-9]+) ([^\n]+)$/.exec(line) ?? []
  const sha256 = Sha256.safeParse(digest)
  const sizeBytes = ByteCount.safeParse(size)
  if (!sha256.success || !sizeBytes.success || !isComplete(reference))
    throw unreadable(number, 'expected artifact sha256:DIGEST SIZE TASK/RUN/NAME')
  return { reference, pin: { sha256: sha256.data, sizeBytes: sizeBytes.data } }
}

function isComplete(text: string): boolean {
  try {
    const { run, name } = parseReference(text)
    return typeof run === 'number' && name !== undefined
  } catch (error) {
    if (error instanceof ArtifactError) return false
    throw error
  }
}

function unreadable(line: number, reason: string): ArtifactError {
  return new ArtifactError('configuration', `Cannot read the lock file: line ${line}: ${reason}`)
}
