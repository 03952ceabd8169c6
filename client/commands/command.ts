/**
 * A command of `artifact` as data: what it takes, what it says in its help, and what it does.
 *
 * Options and positionals are zod objects, so that a value reaches `run` parsed and typed; the facts
 * that help, completion and the parser need hang on each schema. Keys are in camelCase here and in
 * kebab-case on the command line.
 */
import { z } from 'zod'
import { ArtifactError, type EXITS } from '../../schemas/problems.ts'
import { Duration } from '../duration.ts'
import type { ProcessContext } from '../process-context.ts'
import type { Terminal } from '../terminal.ts'
import type { HeadStart } from '../wire/head-start.ts'
import {
  CONNECTION_FACTS,
  formatFlag,
  type OptionEntry,
  type OptionFacts,
  OUTPUT_FACTS,
  PROGRESS_CHOICES,
} from './option-facts.ts'

export type ExitName = keyof typeof EXITS

/**
 * Whether zod compiles a parser for every object that it comes to parse; it does so for schemas that are
 * made from now on. That pays after some hundred times: a server should, a command parses most things once.
 */
export function compileParsers(pays: boolean): void {
  z.config({ jitless: !pays })
}
compileParsers(false)

/** How a positional argument is written and explained. */
export interface PositionalFacts {
  placeholder: string
  summary: string
  /** Takes all words that the others leave; at most one positional of a command does. */
  many?: boolean
  /** All values that are accepted, for completion. */
  choices?: readonly string[]
}

/** One line of a shell, runnable as it stands, and what it is for. */
export interface Example {
  line: string
  about: string
}

/** What the parser found: values as typed, before any schema saw them. */
export interface RawArguments {
  options: Record<string, unknown>
  positionals: Record<string, unknown>
  /** The words after `--`, for a command that takes another command. */
  rest: string[]
}

/** What a running command sees. */
export interface CommandContext extends ProcessContext {
  terminal: Terminal
  globals: GlobalOptions
  /** A connection to the server that is under way already. */
  headStart?: HeadStart | undefined
}

export interface Command {
  /** All forms, without the leading `artifact`. */
  usage: readonly string[]
  /** Some sentences, wrapped by the help. */
  description: string
  options: z.ZodObject
  positionals: z.ZodObject
  /** Whether it speaks to a server, and so takes `--url` and `--token-file`. */
  connects: boolean
  /** Whether the words after `--` are a command of its own. */
  takesCommand: boolean
  examples: readonly Example[]
  /** What its exit codes mean, beyond 0, 1 and 2. */
  exits: Partial<Record<ExitName, string>>
  /** Data goes to stdout, everything else to stderr. Throws `ArtifactError`; the code decides the exit. */
  run(raw: RawArguments, context: CommandContext): Promise<void>
}

/** A line of the table of commands: enough for `artifact --help`, without loading the command. */
export interface CommandEntry {
  /** One word, or two as in `token create`. */
  name: string
  /** One line, in the imperative, without a full stop. */
  summary: string
  /** Whether it asks its server whatever its words are, so that connecting may begin before it is loaded. */
  asksServer?: boolean
  load: () => Promise<Command>
}

interface CommandParts<O extends z.ZodObject, P extends z.ZodObject>
  extends Omit<Command, 'options' | 'positionals' | 'run' | 'connects' | 'takesCommand'> {
  options: O
  positionals: P
  connects?: boolean
  takesCommand?: boolean
  run(
    args: { options: z.infer<O>; positionals: z.infer<P>; rest: string[] },
    context: CommandContext,
  ): Promise<void>
}

/** Makes a command whose `run` gets parsed, typed arguments; a value that no schema takes is `usage`. */
export function defineCommand<O extends z.ZodObject, P extends z.ZodObject>(
  parts: CommandParts<O, P>,
): Command {
  return {
    ...parts,
    connects: parts.connects ?? true,
    takesCommand: parts.takesCommand ?? false,
    run: (raw, context) =>
      parts.run(
        {
          options: readArguments(parts.options, raw.options, nameOption),
          positionals: readArguments(parts.positionals, raw.positionals, (key) =>
            namePositional(parts.positionals, key),
          ),
          rest: raw.rest,
        },
        context,
      ),
  }
}

/** Parses raw values by a schema; the first fault becomes an `ArtifactError` `usage` that names it. */
export function readArguments<S extends z.ZodObject>(
  schema: S,
  raw: Record<string, unknown>,
  nameOf: (key: string) => string,
): z.infer<S> {
  const result = schema.safeParse(raw)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const key = String(issue?.path[0] ?? '')
  const value = raw[key]
  const found = Array.isArray(value) ? (value[Number(issue?.path[1])] ?? value) : value
  if (found === undefined)
    throw new ArtifactError('usage', `Cannot run the command: ${nameOf(key)} is missing`)
  throw new ArtifactError('usage', `Cannot read ${nameOf(key)}: ${issue?.message}`, {
    found: typeof found === 'string' ? found : JSON.stringify(found),
  })
}

const optionFacts = z.registry<OptionFacts>()
const positionalFacts = z.registry<PositionalFacts>()

/** An option with the given schema, which sees a boolean, a string or a list of strings. */
export function option<S extends z.ZodType>(schema: S, facts: OptionFacts): S {
  optionFacts.add(schema, facts)
  return schema
}

type Extras = Partial<Pick<OptionFacts, 'short' | 'variable'>>

/** An option without a value. */
export function flag(summary: string, extras: Extras = {}) {
  return flagOf({ kind: 'flag', summary, ...extras })
}

function flagOf(facts: OptionFacts) {
  return option(z.boolean().default(false), facts)
}

/** An option with a value, at most once. */
export function text(placeholder: string, summary: string, extras: Extras = {}) {
  return option(z.string().optional(), { kind: 'text', placeholder, summary, ...extras })
}

/** An option that may be repeated. */
export function list(placeholder: string, summary: string, extras: Extras = {}) {
  return option(z.array(z.string()).default([]), { kind: 'list', placeholder, summary, ...extras })
}

/** An option with one of some values. */
export function choice<const C extends readonly [string, ...string[]]>(
  choices: C,
  summary: string,
  extras: Extras = {},
) {
  const placeholder = choices.join('|')
  return choiceOf(choices, { kind: 'text', placeholder, summary, choices, ...extras })
}

function choiceOf<const C extends readonly [string, ...string[]]>(choices: C, facts: OptionFacts) {
  return option(z.enum(choices, `expected one of ${choices.join(', ')}`).optional(), facts)
}

/** An option with a whole number in a range, both ends included. */
export function count(
  placeholder: string,
  summary: string,
  range: { min: number; max: number },
  extras: Extras = {},
) {
  const wanted = `expected a whole number from ${range.min} to ${range.max}`
  const schema = z
    .string()
    .regex(/^[0-9]{1,15}$/, wanted)
    .transform(Number)
    .pipe(z.number().min(range.min, wanted).max(range.max, wanted))
    .optional()
  return option(schema, { kind: 'text', placeholder, summary, ...extras })
}

/** A positional argument that must be there. */
export function positional(placeholder: string, summary: string) {
  const schema = z.string()
  positionalFacts.add(schema, { placeholder, summary })
  return schema
}

/** A positional argument with one of some values. */
export function positionalChoice<const C extends readonly [string, ...string[]]>(
  placeholder: string,
  summary: string,
  choices: C,
) {
  const schema = z.enum(choices, `expected one of ${choices.join(', ')}`)
  positionalFacts.add(schema, { placeholder, summary, choices })
  return schema
}

/** A positional argument that may be absent. */
export function optionalPositional(placeholder: string, summary: string) {
  const schema = z.string().optional()
  positionalFacts.add(schema, { placeholder, summary })
  return schema
}

/** All the words that the other positionals leave; may be none. */
export function manyPositionals(placeholder: string, summary: string) {
  const schema = z.array(z.string())
  positionalFacts.add(schema, { placeholder, summary, many: true })
  return schema
}

/** Options of a command in order, by key. */
export function listOptions(options: z.ZodObject): OptionEntry[] {
  return Object.entries(options.shape).flatMap(([key, schema]) => {
    const facts = schema instanceof z.ZodType ? optionFacts.get(schema) : undefined
    return facts === undefined ? [] : [{ key, flag: formatFlag(key), facts }]
  })
}

/** Positionals of a command in order, by key. */
export function listPositionals(
  positionals: z.ZodObject,
): { key: string; required: boolean; facts: PositionalFacts }[] {
  return Object.entries(positionals.shape).flatMap(([key, schema]) => {
    if (!(schema instanceof z.ZodType)) return []
    const facts = positionalFacts.get(schema)
    const required = !schema.safeParse(undefined).success
    return facts === undefined ? [] : [{ key, required, facts }]
  })
}

function nameOption(key: string): string {
  return `--${formatFlag(key)}`
}

function namePositional(positionals: z.ZodObject, key: string): string {
  const found = listPositionals(positionals).find((each) => each.key === key)
  return found?.facts.placeholder ?? key
}

/** Options that every command takes. */
export const outputOptions = z.object({
  json: flagOf(OUTPUT_FACTS.json),
  quiet: flagOf(OUTPUT_FACTS.quiet),
  progress: choiceOf(PROGRESS_CHOICES, OUTPUT_FACTS.progress),
  noColor: flagOf(OUTPUT_FACTS.noColor),
  help: flagOf(OUTPUT_FACTS.help),
  version: flagOf(OUTPUT_FACTS.version),
})

/** Options of every command that speaks to a server. */
export const connectionOptions = z.object({
  url: option(z.string().optional(), CONNECTION_FACTS.url),
  tokenFile: option(z.string().optional(), CONNECTION_FACTS.tokenFile),
  timeout: option(Duration.optional(), CONNECTION_FACTS.timeout),
})

export const globalOptions = z.object({ ...outputOptions.shape, ...connectionOptions.shape })
export type GlobalOptions = z.infer<typeof globalOptions>
