/** The tables of the README: what measured files say, between two marks. */
import { readFile, writeFile } from 'node:fs/promises'
import { z } from 'zod'

const BEGIN = '<!-- bench: written by npm run bench -->'
const END = '<!-- bench: end -->'

const Section = z.object({
  title: z.string(),
  about: z.string(),
  text: z.string(),
  data: z.unknown(),
})

/** What `--json` writes. */
export const Measured = z.object({
  head: z.string(),
  command: z.string(),
  sections: z.array(Section),
})
export type Measured = z.infer<typeof Measured>

/** Puts the tables of such files into the README, those of each command under what it ran on. */
export async function writeReadme(readme: string, paths: readonly string[]): Promise<void> {
  const files = await Promise.all(
    paths.map(async (path) => Measured.parse(JSON.parse(await readFile(path, 'utf8')))),
  )
  const text = await readFile(readme, 'utf8')
  await writeFile(readme, replaceTables(text, files.map(formatMeasured).join('\n\n')))
}

/** Replaces what is between the marks; throws when they are not there. */
export function replaceTables(text: string, tables: string): string {
  const [before, rest] = splitOnce(text, BEGIN)
  const [, after] = splitOnce(rest, END)
  return `${before}${BEGIN}\n${tables}\n${END}${after}`
}

function splitOnce(text: string, mark: string): [before: string, after: string] {
  const at = text.indexOf(mark)
  if (at < 0) throw new Error(`Cannot write the tables: the README has no ${mark}`)
  return [text.slice(0, at), text.slice(at + mark.length)]
}

function formatMeasured({ head, command, sections }: Measured): string {
  const blocks = sections.flatMap(({ about, text }, index) =>
    about === '' || about === sections[index - 1]?.about ? [text] : [`${about}.`, text],
  )
  // Paths are of that machine alone.
  const shown = command.replace(/ --(json|program|work-dir) \S+/g, '')
  return [`${head} \`${shown}\``, ...blocks].join('\n\n')
}
