import { execFile } from 'node:child_process'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { completeWords } from '../../client/command-completion.ts'
import { formatCommandHelp } from '../../client/command-help.ts'
import { listOptions, listPositionals } from '../../client/commands/command.ts'
import { clientCommands } from '../../client/commands/registry.ts'
import { EXIT_MEANINGS } from '../../client/exits.ts'
import { formatOverview } from '../../client/overview.ts'
import { EXITS } from '../../schemas/problems.ts'

const PROGRAM = join(import.meta.dirname, '..', '..', 'server', 'main.ts')

describe('formatOverview()', () => {
  it('names every command and every exit code', () => {
    const help = formatOverview(clientCommands, 80).join('\n')
    for (const { name, summary } of clientCommands)
      expect(help).toContain(`${name.padEnd(12)}  ${summary}`)
    for (const code of Object.values(EXITS)) expect(help).toMatch(new RegExp(`^  ${code} `, 'm'))
  })
})

describe('EXIT_MEANINGS', () => {
  it('has words for every exit code, in order', () => {
    expect(Object.keys(EXIT_MEANINGS)).toEqual(Object.keys(EXITS))
  })
})

describe.each(clientCommands)('artifact $name --help', (entry) => {
  it('shows usage, options, examples and exit codes within 80 columns', async () => {
    const command = await entry.load()
    const lines = formatCommandHelp(entry, command, 80)
    const help = lines.join('\n')
    expect(command.usage.every((line) => line.startsWith(entry.name))).toBe(true)
    for (const { flag } of listOptions(command.options)) expect(help).toContain(`--${flag}`)
    for (const { facts } of listPositionals(command.positionals))
      expect(help).toContain(`  ${facts.placeholder}`)
    expect(command.examples.length).toBeGreaterThan(0)
    for (const { line } of command.examples) expect(help).toContain(`  ${line}\n`)
    expect(help).toMatch(/^ {2}130 /m)
    const prose = lines.filter((line) => !/^ {2}artifact |^Usage: |^ {7}artifact |\|/.test(line))
    expect(prose.filter((line) => line.length > 80)).toEqual([])
  })

  it('ends neither summary nor option with a full stop', async () => {
    const command = await entry.load()
    const texts = listOptions(command.options).map(({ facts }) => facts.summary)
    expect([entry.summary, ...texts].filter((each) => each.endsWith('.'))).toEqual([])
  })
})

describe('completeWords()', () => {
  it.each([
    [['up'], ['upload']],
    [['tok'], ['token']],
    [
      ['token', ''],
      ['create', 'ls', 'revoke'],
    ],
    [['get', '--fo'], ['--force']],
    [
      ['upload', '--policy', ''],
      ['reread', 'parts'],
    ],
    [['ls', '--progress', 'p'], ['plain']],
    [['completion', 'b'], ['bash']],
    [['get', '-o', ''], []],
    [['upload', 'd'], []],
  ])('after %j offers %j', async (words, expected) => {
    expect(await completeWords(words, clientCommands)).toEqual(expected)
  })
})

describe('artifact completion', () => {
  it('completes in a real bash', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'artifact-bash-'))
    try {
      const program = join(folder, 'artifact')
      await writeFile(program, `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM}' "$@"\n`)
      await chmod(program, 0o755)
      const script = `
        eval "$(artifact completion bash)"
        COMP_WORDS=(artifact upload --expect); COMP_CWORD=2
        _artifact_complete
        printf '%s\\n' "\${COMPREPLY[@]}"`
      const { stdout } = await promisify(execFile)('bash', ['-c', script], {
        env: { PATH: `${folder}:${process.env.PATH}` },
      })
      expect(stdout).toBe('--expect-sha256\n')
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})
