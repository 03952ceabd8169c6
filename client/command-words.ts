/**
 * From the words after a command to its arguments. The only file that knows yargs: the parser of it
 * alone, since the rest (help, locales, widths of emoji) costs every start more than Node itself.
 */
import { Parser } from 'yargs/helpers'
import { ArtifactError } from '../schemas/problems.ts'
import {
  type Command,
  connectionOptions,
  type GlobalOptions,
  globalOptions,
  listOptions,
  listPositionals,
  outputOptions,
  type RawArguments,
  readArguments,
} from './commands/command.ts'
import type { OptionEntry, OptionFacts } from './commands/option-facts.ts'
import { findNearest } from './nearest.ts'

/** Words, sorted into what they are, before any schema saw the values. */
export interface ParsedWords {
  options: Record<string, unknown>
  /** Those that belong to no option. */
  words: string[]
  /** Those after `--`, for a command that takes another command. */
  rest: string[]
}

/** Parses the words of a command; throws `usage` for an option that is unknown, incomplete or given twice. */
export function parseCommandWords(words: readonly string[], command: Command): ParsedWords {
  return parseWords(words, optionsOf(command), command.takesCommand)
}

/** Parses words without a command: only the options that every command has. Throws `usage`. */
export function parseFlags(words: readonly string[]): Record<string, unknown> {
  return parseWords(words, listOptions(globalOptions), true).options
}

/** The options that every command has; throws `usage` for a value that cannot be one. */
export function readGlobals(parsed: ParsedWords): GlobalOptions {
  return readArguments(globalOptions, parsed.options, (key) => `--${key}`)
}

/** The arguments as the command takes them; throws `usage` for a word missing or too many. */
export function assignArguments(command: Command, parsed: ParsedWords): RawArguments {
  const { options, rest } = parsed
  return { options, positionals: assignPositionals(command, parsed.words), rest }
}

function optionsOf(command: Command) {
  const shared = command.connects
    ? [...listOptions(outputOptions), ...listOptions(connectionOptions)]
    : listOptions(outputOptions)
  return [...listOptions(command.options), ...shared]
}

/** Parses by yargs; throws `usage` for an option that is unknown, incomplete or given twice. */
function parseWords(
  words: readonly string[],
  options: readonly OptionEntry[],
  takesCommand: boolean,
): ParsedWords {
  const valued = options.filter(({ facts }) => facts.kind !== 'flag').map(({ flag }) => flag)
  const { argv, error } = Parser.detailed([...words], {
    boolean: flagsOfKind(options, 'flag'),
    string: valued,
    array: flagsOfKind(options, 'list'),
    // NaN: one value at least, however many there may be.
    narg: Object.fromEntries(valued.map((flag) => [flag, Number.NaN])),
    alias: Object.fromEntries(
      options.map(({ flag, facts }) => [flag, facts.short === undefined ? [] : [facts.short]]),
    ),
    configuration: {
      'camel-case-expansion': false,
      'dot-notation': false,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'populate--': true,
    },
  })
  if (error !== null) throw explainFailure(error.message)
  const { _: found, '--': after = [], ...values } = argv
  const rest = after.map(String)
  restoreNegatives(values, options)
  return {
    options: collectOptions(values, options),
    words: [...found.map(String), ...(takesCommand ? [] : rest)],
    rest: takesCommand ? rest : [],
  }
}

function flagsOfKind(options: readonly OptionEntry[], kind: OptionFacts['kind']): string[] {
  return options.filter(({ facts }) => facts.kind === kind).map(({ flag }) => flag)
}

/** The parser takes --no-profile for "profile: no", also when the option itself is called no-profile. */
function restoreNegatives(
  values: Record<string, unknown>,
  options: readonly { flag: string }[],
): void {
  for (const { flag } of options) {
    const opposite = flag.startsWith('no-') ? flag.slice('no-'.length) : undefined
    if (opposite === undefined || values[opposite] !== false) continue
    values[flag] = true
    delete values[opposite]
  }
}

function explainFailure(message: string): ArtifactError {
  const name = /^Not enough arguments following: (.+)$/.exec(message)?.[1]
  if (name === undefined)
    return new ArtifactError('usage', `Cannot read the command line: ${message}`)
  return new ArtifactError('usage', `Cannot read ${formatTyped(name)}: its value is missing`)
}

function collectOptions(
  values: Record<string, unknown>,
  options: readonly OptionEntry[],
): Record<string, unknown> {
  const known = options.flatMap(({ flag, facts }) => [flag, ...(facts.short ? [facts.short] : [])])
  const unknown = Object.keys(values).find((name) => !known.includes(name))
  if (unknown !== undefined) {
    const nearest = unknown.length > 1 ? findNearest(unknown, known) : undefined
    throw new ArtifactError(
      'usage',
      `Cannot read the command line: there is no option ${formatTyped(unknown)}`,
      { expected: nearest === undefined ? undefined : formatTyped(nearest) },
    )
  }
  const collected: Record<string, unknown> = {}
  for (const { key, flag, facts } of options) {
    const value = values[flag]
    if (value === undefined) continue
    if (Array.isArray(value) && facts.kind === 'text')
      throw new ArtifactError('usage', `Cannot read --${flag}: it is given more than once`)
    collected[key] = Array.isArray(value) && facts.kind === 'flag' ? value.at(-1) : value
  }
  return collected
}

function formatTyped(name: string): string {
  return name.length === 1 ? `-${name}` : `--${name}`
}

/** Gives every positional its word; those that may take none or many get what the required ones leave. */
function assignPositionals(command: Command, words: readonly string[]): Record<string, unknown> {
  const specs = listPositionals(command.positionals)
  const needed = specs.filter(({ required, facts }) => required && facts.many !== true)
  let spare = words.length - needed.length
  if (spare < 0) {
    const missing = needed[words.length]?.facts.placeholder
    throw new ArtifactError('usage', `Cannot run the command: ${missing} is missing`, {
      expected: `artifact ${command.usage[0]}`,
    })
  }
  const left = [...words]
  const assigned: Record<string, unknown> = {}
  for (const { key, required, facts } of specs) {
    if (facts.many === true) assigned[key] = left.splice(0, spare)
    else if (required) assigned[key] = left.shift()
    else if (spare > 0) assigned[key] = left.shift()
    if (facts.many === true) spare = 0
    else if (!required) spare = Math.max(0, spare - 1)
  }
  if (left.length > 0)
    throw new ArtifactError(
      'usage',
      `Cannot run the command: ${JSON.stringify(left[0])} is one word too many`,
      { expected: `artifact ${command.usage[0]}` },
    )
  return assigned
}
