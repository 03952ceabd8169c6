/** Help texts, made from commands as data. */
import { EXITS } from '../schemas/problems.ts'
import {
  type Command,
  type CommandEntry,
  connectionOptions,
  type ExitName,
  listOptions,
  listPositionals,
  type OptionFacts,
  outputOptions,
} from './commands/command.ts'
import { EXIT_MEANINGS } from './exits.ts'
import { wrap } from './terminal-format.ts'

const WIDTH_MIN = 60
const WIDTH_MAX = 100
/** Column at which explanations begin at the latest; a longer head has a line of its own. */
const INDENT_MAX = 30

type Row = readonly [head: string, text: string]

/** `artifact --help`. */
export function formatOverview(commands: readonly CommandEntry[], columns: number): string[] {
  const width = clampWidth(columns)
  return [
    'artifact - the artifact you get is the artifact that was uploaded, or you get no bytes at all',
    '',
    'Usage: artifact COMMAND [OPTION…] …',
    ...section(
      'Commands',
      commands.map((entry) => [entry.name, entry.summary] as const),
      width,
    ),
    ...section('Options of every command', optionRows(outputOptions), width),
    ...section('Options of commands that speak to a server', optionRows(connectionOptions), width),
    ...section('Exit codes', exitRows(Object.keys(EXIT_MEANINGS), {}), width),
    '',
    'A reference is TASK/RUN/NAME, for example turtle-db/latest/db.dump. RUN is a number or latest.',
    'artifact COMMAND --help tells more about a command and shows examples.',
  ]
}

/** `artifact COMMAND --help`. */
export function formatCommandHelp(
  entry: CommandEntry,
  command: Command,
  columns: number,
): string[] {
  const width = clampWidth(columns)
  const positionals = listPositionals(command.positionals).map(
    ({ facts }) => [facts.placeholder, facts.summary] as const,
  )
  const globals = [
    ...optionRows(outputOptions),
    ...(command.connects ? optionRows(connectionOptions) : []),
  ]
  return [
    `artifact ${entry.name} - ${entry.summary}`,
    '',
    ...command.usage.map((line, index) => `${index === 0 ? 'Usage:' : '      '} artifact ${line}`),
    '',
    ...wrap(command.description, width),
    ...section('Arguments', positionals, width),
    ...section('Options', optionRows(command.options), width),
    ...section('Options of every command', globals, width),
    ...formatExamples(command, width),
    ...section('Exit codes', exitRows(Object.keys(command.exits), command.exits), width),
  ]
}

/** The commands whose name begins with `word`, for example those of `token`. */
export function formatGroupHelp(
  word: string,
  commands: readonly CommandEntry[],
  columns: number,
): string[] {
  const members = commands.filter((entry) => entry.name.startsWith(`${word} `))
  const rows = members.map((entry) => [entry.name, entry.summary] as const)
  return [
    `Usage: artifact ${word} COMMAND [OPTION…] …`,
    ...section('Commands', rows, clampWidth(columns)),
  ]
}

function formatExamples(command: Command, width: number): string[] {
  if (command.examples.length === 0) return []
  const lines = command.examples.flatMap(({ line, about }) => [
    ...wrap(`# ${about}`, width, 2),
    `  ${line}`,
  ])
  return ['', 'Examples:', ...lines]
}

function section(title: string, rows: readonly Row[], width: number): string[] {
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

function optionRows(options: Command['options']): Row[] {
  return listOptions(options).map(({ flag, facts }) => [formatOption(flag, facts), explain(facts)])
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

function exitRows(names: readonly string[], meanings: Partial<Record<ExitName, string>>): Row[] {
  return Object.entries(EXIT_MEANINGS).flatMap(([name, meaning]): Row[] => {
    if (!names.includes(name) && !ALWAYS.includes(name)) return []
    const code = Object.entries(EXITS).find(([each]) => each === name)?.[1]
    const special = Object.entries(meanings).find(([each]) => each === name)?.[1]
    return [[String(code), special ?? meaning]]
  })
}

function clampWidth(columns: number): number {
  return Math.min(WIDTH_MAX, Math.max(WIDTH_MIN, columns))
}
