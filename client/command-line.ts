/**
 * From words to a command and from its outcome to an exit code.
 *
 * A command and what reads its words are loaded when its name is read, so that `artifact --help`
 * loads no package at all.
 */
import { ArtifactError, EXITS } from '../schemas/problems.ts'
import type { CommandEntry } from './commands/command.ts'
import { CONNECTION_FACTS, listFacts, OUTPUT_FACTS } from './commands/option-facts.ts'
import { reportError } from './error-report.ts'
import { classifyError, exitOf } from './exits.ts'
import { findNearest } from './nearest.ts'
import { formatGroupHelp, formatOverview } from './overview.ts'
import type { ProcessContext } from './process-context.ts'
import { guessServer } from './server-settings.ts'
import { checkVariables, hasOtherVariables } from './settings.ts'
import { openTerminal, type Terminal } from './terminal.ts'
import { beginConnection, type HeadStart } from './wire/head-start.ts'

export interface CommandLineOptions {
  /** `ARTIFACT_*` variables that the commands know beyond those of the client; asked only when one is set. */
  variables?: () => Promise<readonly string[]>
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
      const { completeWords } = await import('./command-completion.ts')
      await terminal.print(...(await completeWords(argv.slice(2), commands)))
      return EXITS.done
    }
    const { entry, words, word } = findCommand(argv, commands)
    if (entry === undefined)
      return await answerWithoutCommand(word, words, commands, context, terminal)
    using headStart = callAhead(entry, words, context)
    // Nothing else moves while modules are loaded: an address is connected to in the first turn between,
    // a name that had to be looked up in the second one.
    if (headStart !== undefined) await nextTurn()
    const { assignArguments, parseCommandWords, readGlobals } = await import('./command-words.ts')
    if (headStart !== undefined) await nextTurn()
    const command = await entry.load()
    const parsed = parseCommandWords(words, command)
    const globals = readGlobals(parsed)
    // A program that asks for JSON reads stderr too, for the error: it gets no prose in between.
    const quiet = globals.quiet || globals.json
    terminal = openTerminal({ ...context, quiet, plain: globals.noColor || isPlain(context) })
    if (globals.help) {
      const { formatCommandHelp } = await import('./command-help.ts')
      await terminal.print(...formatCommandHelp(entry, command, context.stdout.columns))
      return EXITS.done
    }
    if (hasOtherVariables(context.environment))
      checkVariables(context.environment, await options.variables?.())
    const raw = assignArguments(command, parsed)
    await runAloud(context.signal, terminal, () =>
      command.run(raw, { ...context, terminal, globals, headStart }),
    )
    return EXITS.done
  } catch (thrown) {
    const known = classifyError(thrown, context.signal)
    reportError(known ?? thrown, { json: wantsJson(argv), terminal, context })
    return known === undefined ? EXITS.unexpected : exitOf(known, context.signal)
  }
}

/** Begins to connect to where the command will ask; how that went shows when it does. */
function callAhead(
  { asksServer = false }: CommandEntry,
  words: readonly string[],
  { environment }: ProcessContext,
): HeadStart | undefined {
  const isHelp = words.includes('--help') || words.includes('-h')
  if (!asksServer || isHelp || environment.proxy !== undefined) return undefined
  const url = guessServer(words, environment)
  return url && beginConnection(url)
}

/** Lets go of the processor once, to all that waits for it. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve))
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
  const withValue = [...listFacts(OUTPUT_FACTS), ...listFacts(CONNECTION_FACTS)].flatMap(
    ({ flag, facts }) => (facts.kind === 'flag' ? [] : [`--${flag}`]),
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

/** Without a command there is mostly one flag or none, and that is read without loading the parser. */
async function readFlags(words: readonly string[]): Promise<Record<string, unknown>> {
  if (words.length === 0) return {}
  if (words.length === 1 && (words[0] === '--help' || words[0] === '-h')) return { help: true }
  if (words.length === 1 && words[0] === '--version') return { version: true }
  const { parseFlags } = await import('./command-words.ts')
  return parseFlags(words)
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
