/** How a browser is told to keep what it downloads: as a file, never shown. */
import { encodePercent } from './percent-encoding.ts'

/**
 * `Content-Disposition` for a file name (RFC 6266): an ASCII fallback for old clients, and the true
 * name as RFC 8187 has it. For example, for `naïve.txt`:
 * `attachment; filename="na_ve.txt"; filename*=UTF-8''na%C3%AFve.txt`.
 */
export function formatDisposition(fileName: string): string {
  const name = fileName.toWellFormed()
  const fallback = name.replace(/[^\x20-\x7e]|["\\/%]/gu, '_')
  return `attachment; filename="${fallback}"; filename*=UTF-8''${encodePercent(name)}`
}
