/** The help of a command, made from the command as data. */
import {
  type Command,
  type CommandEntry,
  connectionOptions,
  listOptions,
  listPositionals,
  outputOptions,
} from './commands/command.ts'
import { clampWidth, exitRows, optionRows, section } from './help-layout.ts'
import { wrap } from './terminal-format.ts'

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
    ...optionRows(listOptions(outputOptions)),
    ...(command.connects ? optionRows(listOptions(connectionOptions)) : []),
  ]
  return [
    `artifact ${entry.name} - ${entry.summary}`,
    '',
    ...command.usage.map((line, index) => `${index === 0 ? 'Usage:' : '      '} artifact ${line}`),
    '',
    ...wrap(command.description, width),
    ...section('Arguments', positionals, width),
    ...section('Options', optionRows(listOptions(command.options)), width),
    ...section('Options of every command', globals, width),
    ...formatExamples(command, width),
    ...section('Exit codes', exitRows(Object.keys(command.exits), command.exits), width),
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
