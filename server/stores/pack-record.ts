/**
 * A pack: small blobs one after the other in one file, so that one fsync makes all of them durable,
 * or in one object of S3, so that one request does.
 *
 *     pack   = *record
 *     record = "blob" SP key SP size SP sha256 LF bytes LF
 *
 * For example `blob blobs/0a/0a1b 5 2cf2…9824 LF hello LF`. A crash can tear the last record; what
 * its SHA-256 does not confirm was never promised to anybody, and neither is what comes after it.
 */
import { createHash } from 'node:crypto'
import { isBlobKey } from './blob-key.ts'
import type { PackSlice } from './pack-index.ts'

/** A blob in a pack. */
export interface PackRecord {
  key: string
  bytes: Uint8Array
  /** What the bytes had to be, where they are not [that of the bytes]; hexadecimal. */
  sha256?: string
}

const HEAD = /^blob (\S{1,300}) (0|[1-9][0-9]{0,8}) ([0-9a-f]{64})$/
const HEAD_BYTES_MAX = 400
const LINE_FEED = 0x0a
const END = Buffer.of(LINE_FEED)

/** The pieces of one record, in order; {@link parsePack} reads them back. */
export function formatPackRecord(record: PackRecord): Uint8Array[] {
  return [formatHead(record, digestOf(record.bytes)), record.bytes, END]
}

/** A whole pack, and where each blob lies in it, in order. */
export function formatPack(records: readonly PackRecord[]): { pack: Buffer; slices: PackSlice[] } {
  const pieces: Uint8Array[] = []
  const slices: PackSlice[] = []
  let at = 0
  for (const record of records) {
    const { key, bytes } = record
    const sha256 = record.sha256 ?? digestOf(bytes)
    const head = formatHead(record, sha256)
    slices.push({ key, sha256, firstByte: at + head.length, sizeBytes: bytes.length })
    pieces.push(head, bytes, END)
    at += head.length + bytes.length + END.length
  }
  return { pack: Buffer.concat(pieces, at), slices }
}

/** The whole records of a pack, in order, up to the first that is none. */
export function* parsePack(pack: Buffer): Generator<PackRecord> {
  for (const { key, firstByte, sizeBytes, isIntact } of walkPack(pack)) {
    if (!isIntact) return
    yield { key, bytes: pack.subarray(firstByte, firstByte + sizeBytes) }
  }
}

/** A record as it lies there, whether or not its bytes have the digest that it names. */
export interface FoundRecord extends PackSlice {
  isIntact: boolean
}

/**
 * The records of a pack in order, up to the first that has not the form of one; changed bytes do not
 * hide what comes after them. Returns how many bytes these records are: all of a pack that is whole.
 */
export function* walkPack(pack: Buffer): Generator<FoundRecord, number> {
  let at = 0
  while (at < pack.length) {
    const end = pack.subarray(at, at + HEAD_BYTES_MAX).indexOf(LINE_FEED)
    const head = HEAD.exec(pack.toString('latin1', at, at + Math.max(0, end)))
    const [, key = '', size = '', sha256 = ''] = head ?? []
    const firstByte = at + end + 1
    const sizeBytes = Number(size)
    const next = firstByte + sizeBytes + 1
    if (head === null || next > pack.length || pack[next - 1] !== LINE_FEED) return at
    if (!isBlobKey(key)) return at
    const isIntact = digestOf(pack.subarray(firstByte, firstByte + sizeBytes)) === sha256
    yield { key, firstByte, sizeBytes, sha256, isIntact }
    at = next
  }
  return at
}

function formatHead({ key, bytes }: PackRecord, sha256: string): Buffer {
  return Buffer.from(`blob ${key} ${bytes.length} ${sha256}\n`)
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
