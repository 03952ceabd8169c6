/** The `Range` of a request (RFC 9110, section 14): one range of bytes, or none that counts. */

/** `[start, end)`. */
export interface ByteRange {
  start: bigint
  end: bigint
}

const SINGLE = /^bytes=([0-9]{0,19})-([0-9]{0,19})$/

/**
 * What a `Range` header asks of an object: `undefined` means all of it (no header, several ranges,
 * or something that is not a range, all of which a server may ignore), `'unsatisfiable'` that it
 * lies outside.
 */
export function parseRange(
  header: string | undefined,
  sizeBytes: bigint,
): ByteRange | 'unsatisfiable' | undefined {
  const [, first, last] = SINGLE.exec(header?.replaceAll(' ', '') ?? '') ?? []
  if (first === undefined || last === undefined || first + last === '') return undefined
  if (first === '') {
    const tail = BigInt(last)
    if (tail === 0n || sizeBytes === 0n) return 'unsatisfiable'
    return { start: tail >= sizeBytes ? 0n : sizeBytes - tail, end: sizeBytes }
  }
  const start = BigInt(first)
  const end = last === '' ? sizeBytes : BigInt(last) + 1n
  if (end <= start && last !== '') return undefined
  if (start >= sizeBytes) return 'unsatisfiable'
  return { start, end: end < sizeBytes ? end : sizeBytes }
}

/** `Content-Range` of a reply, for example `bytes 0-4/10`. */
export function formatContentRange(range: ByteRange, sizeBytes: bigint): string {
  return `bytes ${range.start}-${range.end - 1n}/${sizeBytes}`
}
