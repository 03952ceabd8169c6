/** What an audit holds against a log, in the order in which it was found. */
import type { ArtifactError, ProblemCode } from '../../schemas/problems.ts'

/** What was checked, in the order of an audit. */
export const AUDIT_CHECKS = [
  'signature',
  'history',
  'entries',
  'tree',
  'tiles',
  'names',
  'records',
  'parts',
] as const
export type AuditCheck = (typeof AUDIT_CHECKS)[number]

/** One thing that is not as it has to be. */
export interface Finding {
  check: AuditCheck
  code: ProblemCode
  message: string
  expected?: string | undefined
  found?: string | undefined
}

/** Most findings that are kept; more are counted. */
const KEPT_MAX = 1000

export interface Findings {
  readonly list: readonly Finding[]
  /** All of them, also those that are not kept. */
  readonly count: number
  add(check: AuditCheck, error: ArtifactError): void
}

/** A list without findings. */
export function createFindings(): Findings {
  const list: Finding[] = []
  let count = 0
  return {
    list,
    get count() {
      return count
    },
    add(check, { code, message, expected, found }) {
      count += 1
      if (list.length < KEPT_MAX) list.push({ check, code, message, expected, found })
    },
  }
}

/**
 * The text that is kept of an audit with findings:
 *
 *     report = "artifact-log/v1 audit" LF "head" LF quoted *finding
 *     finding = "finding " check " " code LF *(TAB line LF)
 *     quoted = *(TAB line LF)                          ; the signed note
 */
export function formatFindings(note: string, findings: Findings): string {
  const quote = (text: string) => text.replace(/^/gm, '\t')
  const lines = findings.list.map(({ check, code, message, expected, found }) =>
    [
      `finding ${check} ${code}`,
      quote(message),
      ...(expected === undefined ? [] : [quote(`expected ${expected}`)]),
      ...(found === undefined ? [] : [quote(`found ${found}`)]),
    ].join('\n'),
  )
  const head = note
    .split('\n')
    .slice(0, -1)
    .map((line) => `\t${line}`)
  const unkept = findings.count - findings.list.length
  const more = unkept === 0 ? [] : [`and ${unkept} more`]
  return `${['artifact-log/v1 audit', 'head', ...head, ...lines, ...more].join('\n')}\n`
}
