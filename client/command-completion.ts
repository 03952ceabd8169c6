/** What a shell offers when Tab is pressed. */
import {
  type CommandEntry,
  connectionOptions,
  listOptions,
  listPositionals,
  outputOptions,
} from './commands/command.ts'

/**
 * The words that may stand where the last of `words` stands, one to be typed so far. None: the shell
 * offers files.
 */
export async function completeWords(
  words: readonly string[],
  commands: readonly CommandEntry[],
): Promise<string[]> {
  const typed = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  const candidates = await listCandidates(before, commands)
  return candidates.filter(
    (word) => word.startsWith(typed) && (typed.startsWith('-') || !word.startsWith('-')),
  )
}

async function listCandidates(
  before: readonly string[],
  commands: readonly CommandEntry[],
): Promise<string[]> {
  const [first, second] = before
  const entry =
    commands.find((each) => each.name === `${first} ${second}`) ??
    commands.find((each) => each.name === first)
  if (entry === undefined) return nextNames(before, commands)
  const command = await entry.load()
  const options = [
    ...listOptions(command.options),
    ...listOptions(outputOptions),
    ...(command.connects ? listOptions(connectionOptions) : []),
  ]
  const previous = before.at(-1)
  const awaiting = options.find(
    ({ flag, facts }) => previous === `--${flag}` || previous === `-${facts.short}`,
  )
  if (awaiting !== undefined && awaiting.facts.kind !== 'flag')
    return [...(awaiting.facts.choices ?? [])]
  return [
    ...listPositionals(command.positionals).flatMap(({ facts }) => facts.choices ?? []),
    ...options.map(({ flag }) => `--${flag}`),
  ]
}

function nextNames(before: readonly string[], commands: readonly CommandEntry[]): string[] {
  const names = commands.flatMap(({ name }) => {
    const parts = name.split(' ')
    return before.every((word, index) => parts[index] === word) ? [parts[before.length] ?? ''] : []
  })
  return [...new Set(names)]
}
