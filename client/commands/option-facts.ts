/**
 * How options are written and explained, as plain data: what `artifact --help` needs, and no more.
 * Nothing is imported: every start of the program loads this file.
 */

/** How an option is written and explained. */
export interface OptionFacts {
  /** `flag` takes no value, `text` takes one, `list` may be given again and again. */
  kind: 'flag' | 'text' | 'list'
  /** The value as help names it, for example `PATH`. */
  placeholder?: string
  summary: string
  /** One letter. */
  short?: string
  /** All values that are accepted, for help and completion. */
  choices?: readonly string[]
  /** The environment variable that says the same. */
  variable?: string
}

/** One option of a command: its key in camelCase, and the same as it is typed. */
export interface OptionEntry {
  key: string
  flag: string
  facts: OptionFacts
}

/** The ways to show progress. */
export const PROGRESS_CHOICES = ['auto', 'bar', 'plain', 'json', 'none'] as const

/** Facts of the options that every command takes. */
export const OUTPUT_FACTS = {
  json: { kind: 'flag', summary: 'Print one JSON object on stdout; errors as JSON on stderr' },
  quiet: { kind: 'flag', summary: 'Say nothing but errors on stderr', short: 'q' },
  progress: {
    kind: 'text',
    placeholder: PROGRESS_CHOICES.join('|'),
    summary: 'How to show progress on stderr [auto: a bar on a terminal, else a line every 10 s]',
    choices: PROGRESS_CHOICES,
  },
  noColor: { kind: 'flag', summary: 'Do not colour the output', variable: 'NO_COLOR' },
  help: { kind: 'flag', summary: 'Show this help', short: 'h' },
  version: { kind: 'flag', summary: 'Show the version' },
} as const satisfies Record<string, OptionFacts>

/** Facts of the options of every command that speaks to a server. */
export const CONNECTION_FACTS = {
  url: {
    kind: 'text',
    placeholder: 'URL',
    summary: 'Address of the server',
    variable: 'ARTIFACT_URL',
  },
  tokenFile: {
    kind: 'text',
    placeholder: 'PATH',
    summary: 'File that holds the token',
    variable: 'ARTIFACT_TOKEN_FILE',
  },
  timeout: {
    kind: 'text',
    placeholder: 'TIME',
    summary: 'Give up when nothing has moved for so long, for example 90s [15m]',
  },
} as const satisfies Record<string, OptionFacts>

/** The options that a table of facts names, in order. */
export function listFacts(table: Readonly<Record<string, OptionFacts>>): OptionEntry[] {
  return Object.entries(table).map(([key, facts]) => ({ key, flag: formatFlag(key), facts }))
}

/** `expectSha256` as it is typed: `expect-sha256`. */
export function formatFlag(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}
