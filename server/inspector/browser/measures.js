/**
 * Sizes, rates, durations, times and digests as the pages say them. Pure, and used on both sides, so
 * that what the server rendered and what the page writes later can never differ.
 */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']

/**
 * Bytes with a unit of IEC 80000-13, for example `120.4 MiB`; exact below 1 KiB.
 *
 * @param {bigint | number} bytes
 * @returns {string}
 */
export function formatSize(bytes) {
  let value = typeof bytes === 'bigint' ? bytes : BigInt(Math.max(0, Math.round(bytes)))
  let unit = 0
  // Whole units go by exact division; only the last step, below 2^20, becomes a float.
  while (value >= 1024n * 1024n) {
    value /= 1024n
    unit++
  }
  let number = Number(value)
  if (number >= 1024) {
    number /= 1024
    unit++
  }
  return unit === 0 ? `${number} B` : `${number.toFixed(1)} ${UNITS[unit] ?? '?'}`
}

/**
 * Exact bytes in groups of three, for example `126,249,411 bytes`.
 *
 * @param {bigint | number} bytes
 * @returns {string}
 */
export function formatExactBytes(bytes) {
  const digits = String(bytes).replace(/\B(?=(\d{3})+$)/g, ',')
  return `${digits} ${digits === '1' ? 'byte' : 'bytes'}`
}

/**
 * Seconds as `42 s`, `3 min 5 s`, `2 h 7 min` or `3 d 4 h`, rounded down.
 *
 * @param {number} seconds
 * @returns {string}
 */
export function formatDuration(seconds) {
  const whole = Math.max(0, Math.floor(seconds))
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return formatPair(whole, 60, 'min', 's')
  const minutes = Math.floor(whole / 60)
  if (minutes < 60 * 48) return formatPair(minutes, 60, 'h', 'min')
  return formatPair(Math.floor(minutes / 60), 24, 'd', 'h')
}

/**
 * @param {number} count In the smaller unit.
 * @param {number} ratio How many of them make one of the larger.
 * @param {string} larger
 * @param {string} smaller
 */
function formatPair(count, ratio, larger, smaller) {
  const rest = count % ratio
  const whole = `${Math.floor(count / ratio)} ${larger}`
  return rest === 0 ? whole : `${whole} ${rest} ${smaller}`
}

/**
 * A moment in UTC to the second, for example `2026-11-21 22:16:58 UTC`.
 *
 * @param {string} instant RFC 3339 in UTC.
 * @returns {string}
 */
export function formatUtc(instant) {
  return `${instant.slice(0, 19).replace('T', ' ')} UTC`
}

/**
 * A digest in groups of eight, which the eye can compare.
 *
 * @param {string} digest Hexadecimal.
 * @returns {string[]}
 */
export function groupDigest(digest) {
  return digest.match(/.{1,8}/g) ?? []
}

/**
 * Text that came from elsewhere, with characters that cannot be seen or that turn the direction of
 * writing shown as escapes, so that a name cannot pretend to be another.
 *
 * @param {string} text
 * @returns {string}
 */
export function revealText(text) {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Surrogate}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  )
}
