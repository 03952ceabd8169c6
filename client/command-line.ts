/**
 * From words to a command and from its outcome to an exit code. The only file that knows yargs.
 *
 * A command is loaded when its name is read, so that `artifact --help` loads none.
 */
import { ArtifactError, EXITS } from '../schemas/problems.ts'
import { completeWords } from './command-completion.ts'
import { formatCommandHelp, formatGroupHelp, formatOverview } from './command-help.ts'
import {
  type Command,
  type CommandEntry,
  connectionOptions,
  globalOptions,
  listOptions,
  listPositionals,
  type OptionFacts,
  outputOptions,
  readArguments,
} from './commands/command.ts'
import { reportError } from './error-report.ts'
import { classifyError, exitOf } from './exits.ts'
import { findNearest } from './nearest.ts'
import type { ProcessContext } from './process-context.ts'
import { checkVariables } from './settings.ts'
import { openTerminal, type Terminal } from './terminal.ts'

export interface CommandLineOptions {
  /** `ARTIFACT_*` variables that the commands know beyond those of the client. */
  variables?: readonly string[]
}

/**
 * Runs one command line, without the name of the program, and returns its exit code. It never
 * throws and never ends the process: whatever goes wrong is told on stderr.
 */
export async function runCommandLine(
  argv: readonly string[],
  commands: readonly CommandEntry[],
  context: ProcessContext,
  options: CommandLineOptions = {},
): Promise<number> {
  let terminal = openPlainTerminal(context)
  try {
    if (argv[0] === '--get-completions') {
      await terminal.print(...(await completeWords(argv.slice(2), commands)))
      return EXITS.done
    }
    const { entry, words, word } = findCommand(argv, commands)
    if (entry === undefined)
      return await answerWithoutCommand(word, words, commands, context, terminal)
    const command = await entry.load()
    const parsed = await parseWords(words, optionsOf(command), command.takesCommand)
    const globals = readArguments(globalOptions, parsed.options, (key) => `--${key}`)
    // A program that asks for JSON reads stderr too, for the error: it gets no prose in between.
    const quiet = globals.quiet || globals.json
    terminal = openTerminal({ ...context, quiet, plain: globals.noColor || isPlain(context) })
    if (globals.help) {
      await terminal.print(...formatCommandHelp(entry, command, context.stdout.columns))
      return EXITS.done
    }
    checkVariables(context.environment, options.variables)
    const positionals = assignPositionals(command, parsed.words)
    const raw = { options: parsed.options, positionals, rest: parsed.rest }
    await runAloud(context.signal, terminal, () =>
      command.run(raw, { ...context, terminal, globals }),
    )
    return EXITS.done
  } catch (thrown) {
    const known = classifyError(thrown, context.signal)
    reportError(known ?? thrown, { json: wantsJson(argv), terminal, context })
    return known === undefined ? EXITS.unexpected : exitOf(known, context.signal)
  }
}

/** Runs `action`; an interruption is answered at once, since cleaning up takes a moment. */
async function runAloud(signal: AbortSignal, terminal: Terminal, action: () => Promise<void>) {
  const speak = () => terminal.warn('artifact: stopping; once more to stop at once')
  signal.addEventListener('abort', speak)
  try {
    await action()
  } finally {
    signal.removeEventListener('abort', speak)
  }
}

/** The longest name of a command that the first words make, and all other words. */
function findCommand(
  argv: readonly string[],
  commands: readonly CommandEntry[],
): { entry: CommandEntry | undefined; words: string[]; word: string | undefined } {
  const at = skipOptions(argv)
  const [first, second] = argv.slice(at)
  const before = argv.slice(0, at)
  for (const name of [`${first} ${second}`, first]) {
    const entry = commands.find((each) => each.name === name)
    if (entry !== undefined)
      return {
        entry,
        words: [...before, ...argv.slice(at + entry.name.split(' ').length)],
        word: first,
      }
  }
  return { entry: undefined, words: [...before, ...argv.slice(at + 1)], word: first }
}

/** Index of the first word that is neither a global option nor the value of one. */
function skipOptions(argv: readonly string[]): number {
  const withValue = listOptions(globalOptions).flatMap(({ flag, facts }) =>
    facts.kind === 'flag' ? [] : [`--${flag}`],
  )
  let index = 0
  while (argv[index]?.startsWith('-') && argv[index] !== '--')
    index += withValue.includes(argv[index] ?? '') ? 2 : 1
  return index
}

async function answerWithoutCommand(
  word: string | undefined,
  words: string[],
  commands: readonly CommandEntry[],
  context: ProcessContext,
  terminal: Terminal,
): Promise<number> {
  const isGroup = commands.some((entry) => entry.name.startsWith(`${word} `))
  if (word !== undefined && !isGroup && word !== 'help') throw noSuchCommand(word, commands)
  const options = await readFlags(words)
  if (options.version === true) {
    await terminal.print(`artifact ${context.version}`)
    return EXITS.done
  }
  const format = (columns: number) =>
    isGroup && word !== undefined
      ? formatGroupHelp(word, commands, columns)
      : formatOverview(commands, columns)
  if (options.help === true || word === 'help') {
    await terminal.print(...format(context.stdout.columns))
    return EXITS.done
  }
  for (const line of format(context.stderr.columns)) terminal.warn(line)
  return EXITS.usage
}

/** Without a command there is mostly one flag, and that is read without loading the parser. */
async function readFlags(words: readonly string[]): Promise<Record<string, unknown>> {
  if (words.length === 1 && (words[0] === '--help' || words[0] === '-h')) return { help: true }
  if (words.length === 1 && words[0] === '--version') return { version: true }
  return (await parseWords(words, listOptions(globalOptions), true)).options
}

function noSuchCommand(word: string, commands: readonly CommandEntry[]): ArtifactError {
  const names = commands.flatMap((entry) => [entry.name, ...entry.name.split(' ').slice(0, 1)])
  return new ArtifactError(
    'usage',
    `Cannot run ${JSON.stringify(word)}: there is no such command`,
    {
      expected: findNearest(word, names),
    },
  )
}

function optionsOf(command: Command) {
  const shared = command.connects
    ? [...listOptions(outputOptions), ...listOptions(connectionOptions)]
    : listOptions(outputOptions)
  return [...listOptions(command.options), ...shared]
}

interface ParsedWords {
  options: Record<string, unknown>
  words: string[]
  rest: string[]
}

/** Parses by yargs; throws `usage` for an option that is unknown, incomplete or given twice. */
async function parseWords(
  words: readonly string[],
  options: readonly { key: string; flag: string; facts: OptionFacts }[],
  takesCommand: boolean,
): Promise<ParsedWords> {
  const { default: yargs } = await import('yargs')
  const parser = yargs([...words])
    .scriptName('artifact')
    .help(false)
    .version(false)
    .exitProcess(false)
    .detectLocale(false)
    .parserConfiguration({
      'camel-case-expansion': false,
      'dot-notation': false,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'populate--': true,
    })
    .fail((message, fault) => {
      // A message is about the words; without one it is a bug of somebody.
      throw message ? explainFailure(message) : fault
    })
  for (const { flag, facts } of options) {
    const type = facts.kind === 'flag' ? 'boolean' : facts.kind === 'text' ? 'string' : 'array'
    parser.option(flag, {
      type,
      string: facts.kind !== 'flag',
      requiresArg: facts.kind !== 'flag',
      ...(facts.short === undefined ? {} : { alias: facts.short }),
    })
  }
  const { _: found, $0: _program, '--': after, ...values } = await parser.parseAsync()
  const rest = Array.isArray(after) ? after.map(String) : []
  restoreNegatives(values, options)
  return {
    options: collectOptions(values, options),
    words: [...found.map(String), ...(takesCommand ? [] : rest)],
    rest: takesCommand ? rest : [],
  }
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
  options: readonly { key: string; flag: string; facts: OptionFacts }[],
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

function openPlainTerminal(context: ProcessContext): Terminal {
  return openTerminal({ ...context, quiet: false, plain: isPlain(context) })
}

function isPlain({ environment }: ProcessContext): boolean {
  return environment.noColor || environment.dumbTerminal
}

/** Also when the words could not be parsed. */
function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--')
  return argv.slice(0, end === -1 ? argv.length : end).includes('--json')
}
