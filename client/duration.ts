import { z } from 'zod'

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }

/**
 * A time to last, as typed: a whole number and a unit, `s`, `m`, `h`, `d` or `w`. For example `90s`
 * or `30d`. Becomes seconds, at least 1.
 */
export const Duration = z
  .string()
  .regex(/^[1-9][0-9]{0,8}[smhdw]$/, 'expected a number with s, m, h, d or w, for example 30d')
  .transform((text) => Number(text.slice(0, -1)) * (UNITS[text.slice(-1)] ?? 1))
