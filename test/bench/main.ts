/**
 * `npm run bench`: ours, the tools that people use today, and the floors, side by side in one run.
 * `npm run bench -- --help` names the options.
 *
 * Nothing is asserted but that the bytes arrive. Tables go to stdout as they are ready, what is being
 * done to stderr.
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { measureFar } from './far.ts'
import { formatMachine } from './machine.ts'
import { measureMemory } from './memory.ts'
import { HELP, type Options, type PartName, parseOptions, shrink } from './options.ts'
import { type Measured, writeReadme } from './readme-tables.ts'
import type { Section, Voice } from './section.ts'
import { measureStarts } from './starts.ts'
import { measureFiles, measureFolders } from './transfers.ts'

const root = join(import.meta.dirname, '..', '..')
const say = (text: string) => void process.stdout.write(`${text}\n`)

type Measure = (options: Options, program: string, voice: Voice) => Promise<void>

/** Files are one part for two words: what is uploaded is got. */
const MEASURES: readonly [parts: readonly PartName[], measure: Measure][] = [
  [['upload', 'get'], measureFiles],
  [['folder'], measureFolders],
  [['start'], measureStarts],
  [['memory'], measureMemory],
  [['far'], measureFar],
]

await main()

async function main(): Promise<void> {
  const given = parseOptions(process.argv.slice(2))
  if (given.isHelp) return say(HELP)
  if (given.readme.length > 0) return await writeReadme(join(root, 'README.md'), given.readme)
  if (process.platform !== 'linux')
    throw new Error(`Cannot measure on ${process.platform}: what processes use is read from /proc`)
  const options = given.isSelfCheck ? shrink(given) : given
  const program = options.program ?? build()
  const head = formatMachine(program)
  const command = ['npm run bench --', ...process.argv.slice(2)].join(' ')
  const sections: Section[] = []
  const keep = () => {
    const measured: Measured = { head, command, sections }
    if (options.json !== undefined)
      writeFileSync(options.json, `${JSON.stringify(measured, null, 2)}\n`)
  }
  const voice: Voice = {
    show(section) {
      const isNew = section.about !== sections.at(-1)?.about
      sections.push(section)
      say(`\n${isNew && section.about !== '' ? `${section.about}.\n\n` : ''}${section.text}`)
      // At once: what was measured outlives what goes wrong later.
      keep()
    },
    report: (text) => void process.stderr.write(`${text}\n`),
  }
  say(head)
  for (const [parts, measure] of MEASURES)
    if (parts.some((part) => options.only.includes(part))) await measure(options, program, voice)
}

/** Makes what a user has, and returns its program. */
function build(): string {
  const words = [join(root, 'test', 'build.ts')]
  const { status } = spawnSync(process.execPath, words, { stdio: ['ignore', 2, 2] })
  if (status !== 0) throw new Error('Cannot build what is to be measured')
  return join(root, 'dist', 'server', 'main.js')
}
