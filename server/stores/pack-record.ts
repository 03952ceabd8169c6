/**
 * A pack: small blobs one after the other in one file, so that one fsync makes all of them durable.
 *
 *     pack   = *record
 *     record = "blob" SP key SP size SP sha256 LF bytes LF
 *
 * For example `blob blobs/0a/0a1b 5 2cf2…9824 LF hello LF`. A crash can tear the last record; what
 * its SHA-256 does not confirm was never promised to anybody, and neither is what comes after it.
 */
import { createHash } from 'node:crypto'
import { isBlobKey } from './blob-key.ts'

/** A blob in a pack. */
export interface PackRecord {
  key: string
  bytes: Uint8Array
}

const HEAD = /^blob (\S{1,300}) (0|[1-9][0-9]{0,8}) ([0-9a-f]{64})$/
const HEAD_BYTES_MAX = 400
const LINE_FEED = 0x0a

/** The pieces of one record, in order; {@link parsePack} reads them back. */
export function formatPackRecord({ key, bytes }: PackRecord): Uint8Array[] {
  const head = `blob ${key} ${bytes.length} ${digestOf(bytes)}\n`
  return [Buffer.from(head), bytes, Buffer.from('\n')]
}

/** The whole records of a pack, in order, up to the first that is none. */
export function* parsePack(pack: Buffer): Generator<PackRecord> {
  let at = 0
  while (at < pack.length) {
    const end = pack.subarray(at, at + HEAD_BYTES_MAX).indexOf(LINE_FEED)
    const head = HEAD.exec(pack.toString('latin1', at, at + Math.max(0, end)))
    const [, key = '', size = '', sha256] = head ?? []
    const start = at + end + 1
    const bytes = pack.subarray(start, start + Number(size))
    at = start + Number(size) + 1
    if (head === null || at > pack.length || pack[at - 1] !== LINE_FEED) return
    if (!isBlobKey(key) || digestOf(bytes) !== sha256) return
    yield { key, bytes }
  }
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
