/**
 * Strict forms of values in text: each value has one spelling, and every other spelling is refused.
 * Lenient readers let an attacker change bytes that nobody notices.
 */

/** Standard Base 64 with padding (RFC 4648, section 4). */
export function formatBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}

/** The inverse of {@link formatBase64}; `undefined` for anything that it would not have written. */
export function parseBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64')
  // Buffer skips what it does not know and needs no padding, so only the way back tells.
  return bytes.toString('base64') === text ? bytes : undefined
}

/**
 * A decimal integer, 0 to 2^53 - 1, without sign, space or leading zero; else `undefined`.
 * `BigInt()` and `Number()` would take `0x10` and ` 1`.
 */
export function parseDecimal(text: string): number | undefined {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(text)) return undefined
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : undefined
}

/** Keeps nothing between two texts. A byte order mark is bytes like any other: it stays. */
const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Text from bytes, or the text itself; `undefined` unless it is well-formed Unicode. */
export function decodeText(source: string | Uint8Array): string | undefined {
  if (typeof source === 'string') return source.isWellFormed() ? source : undefined
  try {
    return DECODER.decode(source)
  } catch {
    return undefined
  }
}
