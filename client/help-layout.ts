/** The pieces that every help text is set from. */
import { EXITS } from '../schemas/problems.ts'
import type { ExitName } from './commands/command.ts'
import type { OptionEntry, OptionFacts } from './commands/option-facts.ts'
import { EXIT_MEANINGS } from './exits.ts'
import { wrap } from './terminal-format.ts'

const WIDTH_MIN = 60
const WIDTH_MAX = 100
/** Column at which explanations begin at the latest; a longer head has a line of its own. */
const INDENT_MAX = 30

/** What is explained, and the explanation. */
export type Row = readonly [head: string, text: string]

/** A title and under it two columns; nothing for no rows. */
export function section(title: string, rows: readonly Row[], width: number): string[] {
  if (rows.length === 0) return []
  const indent = Math.min(INDENT_MAX, Math.max(...rows.map(([head]) => head.length + 4)))
  return ['', `${title}:`, ...rows.flatMap((row) => formatRow(row, indent, width))]
}

function formatRow([head, text]: Row, indent: number, width: number): string[] {
  const [first = '', ...more] = wrap(text, width, indent)
  const left = `  ${head}`
  if (left.length > indent - 2) return [left, first, ...more]
  return [left.padEnd(indent) + first.trimStart(), ...more]
}

/** How options are written, and what they mean. */
export function optionRows(options: readonly OptionEntry[]): Row[] {
  return options.map(({ flag, facts }) => [formatOption(flag, facts), explain(facts)])
}

function formatOption(flag: string, facts: OptionFacts): string {
  const short = facts.short === undefined ? '' : `-${facts.short}, `
  return `${short}--${flag}${facts.placeholder === undefined ? '' : ` ${facts.placeholder}`}`
}

function explain(facts: OptionFacts): string {
  const repeat = facts.kind === 'list' ? ' (may be repeated)' : ''
  const variable = facts.variable === undefined ? '' : ` (${facts.variable})`
  return `${facts.summary}${repeat}${variable}`
}

const ALWAYS: readonly string[] = ['done', 'unexpected', 'usage', 'interrupted', 'terminated']

/** Exit codes by name, with those that every command has; `meanings` replace what they mean in general. */
export function exitRows(
  names: readonly string[],
  meanings: Partial<Record<ExitName, string>>,
): Row[] {
  return Object.entries(EXIT_MEANINGS).flatMap(([name, meaning]): Row[] => {
    if (!names.includes(name) && !ALWAYS.includes(name)) return []
    const code = Object.entries(EXITS).find(([each]) => each === name)?.[1]
    const special = Object.entries(meanings).find(([each]) => each === name)?.[1]
    return [[String(code), special ?? meaning]]
  })
}

/** The width of a help text, in characters, on a terminal of `columns`. */
export function clampWidth(columns: number): number {
  return Math.min(WIDTH_MAX, Math.max(WIDTH_MIN, columns))
}
