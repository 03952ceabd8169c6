/** The help that is about no command in particular: the overview, and the commands of a group. */
import type { CommandEntry } from './commands/command.ts'
import { CONNECTION_FACTS, listFacts, OUTPUT_FACTS } from './commands/option-facts.ts'
import { EXIT_MEANINGS } from './exits.ts'
import { clampWidth, exitRows, optionRows, section } from './help-layout.ts'

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
    ...section('Options of every command', optionRows(listFacts(OUTPUT_FACTS)), width),
    ...section(
      'Options of commands that speak to a server',
      optionRows(listFacts(CONNECTION_FACTS)),
      width,
    ),
    ...section('Exit codes', exitRows(Object.keys(EXIT_MEANINGS), {}), width),
    '',
    'A reference is TASK/RUN/NAME, for example turtle-db/latest/db.dump. RUN is a number or latest.',
    'artifact COMMAND --help tells more about a command and shows examples.',
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
