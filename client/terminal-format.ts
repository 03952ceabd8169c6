/** Numbers and texts as people read them. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const

/** Bytes with a unit of IEC 80000-13, for example `120.4 MiB`; exact below 1 KiB. */
export function formatBytes(bytes: bigint | number): string {
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

/** Seconds as `42 s`, `3 min 5 s` or `2 h 7 min`; rounded up, since it is time to wait. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds))
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  const minutes = Math.floor(whole / 60)
  if (minutes < 60 * 48) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
  return `${Math.floor(minutes / (60 * 24))} d ${Math.floor(minutes / 60) % 24} h`
}

/** Elapsed time: `0.4 s` below ten seconds, else as {@link formatDuration}. */
export function formatElapsed(milliseconds: number): string {
  return milliseconds < 10_000
    ? `${(milliseconds / 1000).toFixed(1)} s`
    : formatDuration(milliseconds / 1000)
}

/** A moment as `2026-11-21 22:16:58Z`: to the second, in UTC. */
export function formatMoment(instant: string): string {
  return `${instant.slice(0, 19).replace('T', ' ')}Z`
}

/** `1 part`, `3 parts`. */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/**
 * Text that came from elsewhere, safe for a terminal: control characters, which could move the cursor
 * or rename the window, and characters that turn the direction of writing are shown as escapes.
 */
export function sanitise(text: string): string {
  return text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
    /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|\p{Surrogate}/gu,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  )
}

/** JSON on one line, with the same characters escaped as {@link sanitise} does: still the same JSON value. */
export function formatJson(value: unknown): string {
  return sanitise(
    JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? String(each) : each)),
  )
}

/** Columns in line, two spaces apart; `right` names the columns that hold numbers. */
export function formatTable(
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
): string[] {
  const widths: number[] = []
  for (const row of rows)
    for (const [column, cell] of row.entries())
      widths[column] = Math.max(widths[column] ?? 0, measure(cell))
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const padding = ' '.repeat((widths[column] ?? 0) - measure(cell))
        return right.includes(column) ? padding + cell : cell + padding
      })
      .join('  ')
      .trimEnd(),
  )
}

/** Words wrapped to lines of at most `width` characters, each after `indent` spaces. */
export function wrap(text: string, width: number, indent = 0): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(/\s+/)) {
    if (line !== '' && measure(line) + 1 + measure(word) > width - indent) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  lines.push(line)
  return lines.map((each) => ' '.repeat(indent) + each)
}

function measure(text: string): number {
  return [...text].length
}
