import { once } from 'node:events'
import { createServer } from 'node:net'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { runCommandLine } from '../../client/command-line.ts'
import {
  type Command,
  type CommandContext,
  type CommandEntry,
  choice,
  count,
  defineCommand,
  flag,
  list,
  manyPositionals,
  optionalPositional,
  positional,
  text,
} from '../../client/commands/command.ts'
import { ArtifactError, PROBLEMS, type ProblemCode } from '../../schemas/problems.ts'
import { type MemoryOptions, openMemoryProcess } from '../support/memory-process.ts'

const options = z.object({
  output: text('PATH', 'Where to', { short: 'o' }),
  label: list('KEY=VALUE', 'What else'),
  force: flag('At any price'),
  noProfile: flag('Without a profile'),
  mode: choice(['fast', 'slow'], 'How'),
  parts: count('N', 'How many', { min: 1, max: 64 }),
})

/** A command that tells what reached it, as JSON on stdout. */
function echo(
  positionals: z.ZodObject,
  extras: { connects?: boolean; takesCommand?: boolean } = {},
): CommandEntry {
  const command = defineCommand({
    usage: ['echo [OPTION…] …'],
    description: 'Tells what reached it.',
    options,
    positionals,
    ...extras,
    examples: [{ line: 'artifact echo a', about: 'say a' }],
    exits: { notFound: 'there is no echo' },
    run: ({ options, positionals, rest }, { terminal, globals }) =>
      terminal.printJson({ options, positionals, rest, url: globals.url, quiet: globals.quiet }),
  })
  return { name: 'echo', summary: 'Say it again', load: async () => command }
}

const manyThenOne = z.object({
  files: manyPositionals('FILE', 'Files'),
  target: positional('TARGET', 'Where'),
})

/** A command that does one thing. */
function acting(run: (context: CommandContext) => Promise<void>): CommandEntry {
  const command: Command = defineCommand({
    usage: ['act'],
    description: 'Acts.',
    options: z.object({}),
    positionals: z.object({}),
    examples: [],
    exits: {},
    run: (_, context) => run(context),
  })
  return { name: 'act', summary: 'Act', load: async () => command }
}

async function run(argv: string[], entry: CommandEntry, memory: MemoryOptions = {}) {
  const process = openMemoryProcess(memory)
  const exit = await runCommandLine(argv, [entry], process.context, {
    variables: async () => ['ARTIFACT_PORT'],
  })
  return { exit, stdout: process.stdout, stderr: process.stderr }
}

async function parse(argv: string[], entry = echo(manyThenOne)) {
  const { exit, stdout, stderr } = await run(argv, entry)
  expect(stderr).toBe('')
  expect(exit).toBe(0)
  return JSON.parse(stdout)
}

describe('runCommandLine()', () => {
  it('hands over typed values', async () => {
    const words = ['echo', 'a', 't', '--label', 'x=1', '--label=y=2', '--force', '--parts', '08']
    expect(await parse(words)).toEqual({
      options: { label: ['x=1', 'y=2'], force: true, noProfile: false, parts: 8 },
      positionals: { files: ['a'], target: 't' },
      rest: [],
      quiet: false,
    })
  })

  it('takes an option whose own name begins with "no"', async () => {
    expect(await parse(['echo', 't', '--no-profile'])).toMatchObject({
      options: { noProfile: true },
    })
    const { exit, stderr } = await run(['echo', 't', '--profile'], echo(manyThenOne))
    expect(exit).toBe(2)
    expect(stderr).toContain('there is no option --profile')
  })

  it('takes global options before and after the command', async () => {
    expect(await parse(['--url', 'http://a', '-q', 'echo', 't'])).toMatchObject({
      url: 'http://a',
      quiet: true,
      positionals: { files: [], target: 't' },
    })
    expect(await parse(['echo', 't', '--url=http://a'])).toMatchObject({ url: 'http://a' })
  })

  it('leaves numbers, dashes and words with dots as they were typed', async () => {
    const { positionals, options } = await parse(['echo', '007', '-', '1e3', '-o', '-'])
    expect(positionals).toEqual({ files: ['007', '-'], target: '1e3' })
    expect(options.output).toBe('-')
  })

  it('takes words after -- as positionals', async () => {
    const { positionals, rest } = await parse(['echo', '--', '--odd', 't'])
    expect(positionals).toEqual({ files: ['--odd'], target: 't' })
    expect(rest).toEqual([])
  })

  it('keeps words after -- for a command that takes a command', async () => {
    const entry = echo(manyThenOne, { takesCommand: true })
    const { positionals, rest } = await parse(['echo', 't', '--', 'sh', '-c', 'exit 1'], entry)
    expect(positionals).toEqual({ files: [], target: 't' })
    expect(rest).toEqual(['sh', '-c', 'exit 1'])
  })

  it('gives optional positionals what is left', async () => {
    const entry = echo(z.object({ a: positional('A', ''), b: optionalPositional('B', '') }))
    expect((await parse(['echo', '1'], entry)).positionals).toEqual({ a: '1' })
    expect((await parse(['echo', '1', '2'], entry)).positionals).toEqual({ a: '1', b: '2' })
  })

  it.each([
    [['ecko', 't'], 'expected  echo'],
    [['echo', '--froce', 't'], 'expected  --force'],
    [['echo', '-x', 't'], 'there is no option -x'],
    [['echo'], 'TARGET is missing'],
    [['echo', 't', '-o'], 'its value is missing'],
    [['echo', 't', '-o', 'a', '-o', 'b'], 'given more than once'],
    [['echo', 't', '--mode', 'odd'], 'expected one of fast, slow'],
    [['echo', 't', '--parts', '0'], 'from 1 to 64'],
    [['echo', 't', '--parts', '1.5'], 'from 1 to 64'],
    [['echo', 't', '--progress', 'loud'], 'expected one of auto'],
  ])('refuses %j with exit 2', async (argv, words) => {
    const { exit, stdout, stderr } = await run(argv, echo(manyThenOne))
    expect(stderr).toContain(words)
    expect(stderr).toContain('exit 2)')
    expect(stdout).toBe('')
    expect(exit).toBe(2)
  })

  it('refuses one word too many', async () => {
    const { exit, stderr } = await run(
      ['echo', 'a', 'b'],
      echo(z.object({ a: positional('A', '') })),
    )
    expect(stderr).toContain('"b" is one word too many')
    expect(exit).toBe(2)
  })

  it('refuses --url where no server is spoken to', async () => {
    const entry = echo(manyThenOne, { connects: false })
    expect((await run(['echo', 't', '--url', 'x'], entry)).exit).toBe(2)
  })

  it('refuses an ARTIFACT_ variable that nobody knows, and names the nearest', async () => {
    const variables = { ARTIFACT_URLS: 'x', ARTIFACT_PORT: '1' }
    const { exit, stderr } = await run(['echo', 't'], echo(manyThenOne), { variables })
    expect(stderr).toContain('ARTIFACT_URLS is not a setting')
    expect(stderr).toContain('expected  ARTIFACT_URL\n')
    expect(exit).toBe(2)
  })

  it('prints help on stdout, even when the environment is wrong', async () => {
    const variables = { ARTIFACT_URLS: 'x' }
    const { exit, stdout } = await run(['echo', '--help'], echo(manyThenOne), { variables })
    expect(stdout).toContain('Usage: artifact echo [OPTION…] …')
    expect(stdout).toContain('# say a\n  artifact echo a\n')
    expect(stdout).toMatch(/5 +there is no echo/)
    expect(exit).toBe(0)
  })

  it('tells all commands without loading one', async () => {
    const entry: CommandEntry = {
      name: 'echo',
      summary: 'Say it again',
      load: async () => {
        throw new Error('loaded')
      },
    }
    expect((await run(['--help'], entry)).stdout).toMatch(/echo +Say it again/)
    expect((await run(['--version'], entry)).stdout).toBe('artifact 1.2.3\n')
  })

  it('answers no command at all with help on stderr and exit 2', async () => {
    const { exit, stdout, stderr } = await run([], echo(manyThenOne))
    expect(stderr).toContain('Usage: artifact COMMAND')
    expect(stdout).toBe('')
    expect(exit).toBe(2)
  })

  it.each(Object.entries(PROBLEMS))('ends with the exit code of %s', async (code, row) => {
    const known = Object.keys(PROBLEMS).find((each): each is ProblemCode => each === code)
    const entry = acting(async () => {
      throw new ArtifactError(known ?? 'internal', 'Cannot act: no', { expected: 'a' })
    })
    const { exit, stderr } = await run(['act'], entry)
    expect(exit).toBe(row.exit)
    expect(stderr).toBe(
      `artifact: Cannot act: no\n  expected  a\n  ${row.hint}\n  (${code}, exit ${row.exit})\n`,
    )
  })

  it('tells an error as one line of JSON on stderr with --json', async () => {
    const entry = acting(async () => {
      throw new ArtifactError('digest_mismatch', 'Cannot act: no', { expected: 'a', found: 'b' })
    })
    const { exit, stdout, stderr } = await run(['act', '--json'], entry)
    expect(JSON.parse(stderr)).toMatchObject({
      kind: 'error',
      code: 'digest_mismatch',
      exit: 3,
      expected: 'a',
      found: 'b',
    })
    expect(stderr.trimEnd()).not.toContain('\n')
    expect(stdout).toBe('')
    expect(exit).toBe(3)
  })

  it('says how to report a bug, without a stack', async () => {
    const entry = acting(async () => {
      throw new TypeError('x is not a function')
    })
    const { exit, stderr } = await run(['act'], entry)
    expect(stderr).toContain('unexpected TypeError: x is not a function')
    expect(stderr).toContain('Please report it')
    expect(stderr).not.toContain('command-line.test.ts')
    expect(exit).toBe(1)
  })

  it('shows the stack with ARTIFACT_DEBUG=1', async () => {
    const entry = acting(async () => {
      throw new TypeError('x is not a function')
    })
    const { stderr } = await run(['act'], entry, { variables: { ARTIFACT_DEBUG: '1' } })
    expect(stderr).toContain('command-line.test.ts')
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('answers %s at once and ends with %i', async (name, expected) => {
    const process = openMemoryProcess()
    const entry = acting(async ({ signal }) => {
      process.interrupt(name)
      expect(process.stderr).toContain('artifact: stopping; once more to stop at once')
      signal.throwIfAborted()
    })
    expect(await runCommandLine(['act'], [entry], process.context)).toBe(expected)
    expect(process.stderr).toContain('Run the same command again to go on where it stopped.')
  })

  it('shows escape sequences of elsewhere as text', async () => {
    const entry = acting(async () => {
      throw new ArtifactError('not_found', 'Cannot find \u001b]0;owned\u0007\u202e', {})
    })
    const { stderr } = await run(['act'], entry)
    expect(stderr).toContain('Cannot find \\u001b]0;owned\\u0007\\u202e')
    expect(stderr).not.toContain('\u001b')
  })

  it('ends quietly when the reader of stdout has gone', async () => {
    const process = openMemoryProcess()
    process.context.stdout.stream.destroy()
    const entry = acting(async ({ terminal }) => {
      await terminal.print('hello')
      expect(terminal.isClosed).toBe(true)
    })
    expect(await runCommandLine(['act'], [entry], process.context)).toBe(0)
    expect(process.stderr).toBe('')
  })

  it('still tells a failure when the reader of stdout has gone', async () => {
    const process = openMemoryProcess()
    process.context.stdout.stream.destroy()
    const entry = acting(async ({ terminal }) => {
      await terminal.print('hello')
      throw new ArtifactError('partly_done', 'Cannot act: in part')
    })
    expect(await runCommandLine(['act'], [entry], process.context)).toBe(9)
    expect(process.stderr).toContain('Cannot act: in part')
  })

  it('prints a list of more lines than a call takes arguments', async () => {
    const lines = Array.from({ length: 300_000 }, (_, index) => String(index))
    const entry = acting(({ terminal }) => terminal.printList(lines))
    const { exit, stdout } = await run(['act'], entry)
    expect(exit).toBe(0)
    expect(stdout === `${lines.join('\n')}\n`).toBe(true)
  })

  it('colours only a terminal, and not with NO_COLOR', async () => {
    const entry = acting(async () => {
      throw new ArtifactError('not_found', 'Cannot act: no')
    })
    const sequence = '\u001b['
    expect((await run(['act'], entry, { isTerminal: true })).stderr).toContain(sequence)
    expect((await run(['act'], entry)).stderr).not.toContain(sequence)
    const variables = { NO_COLOR: '1' }
    expect((await run(['act'], entry, { isTerminal: true, variables })).stderr).not.toContain(
      escape,
    )
    const plain = await run(['act', '--no-color'], entry, { isTerminal: true })
    expect(plain.stderr).not.toContain(sequence)
  })
})

describe('a command that asks its server', () => {
  async function listen() {
    const server = createServer()
    const connected = once(server, 'connection')
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    return {
      url: `http://127.0.0.1:${port}`,
      connected,
      [Symbol.dispose]: () => void server.close(),
    }
  }

  /** What a command is handed that acts at once. */
  async function findHeadStart(
    argv: string[],
    changes: Partial<CommandEntry>,
    variables: Record<string, string>,
  ) {
    const seen: CommandContext['headStart'][] = []
    const entry = acting(async ({ headStart }) => void seen.push(headStart))
    const { exit } = await run(argv, { ...entry, ...changes }, { variables })
    expect(exit).toBe(0)
    return seen
  }

  it('connects before it is loaded, and leaves nothing open that it did not use', async () => {
    using server = await listen()
    const entry = acting(async () => undefined)
    const load = () => server.connected.then(() => entry.load())
    const asking = { ...entry, load, asksServer: true }
    expect((await run(['act', '--url', server.url], asking)).exit).toBe(0)
    const [socket] = await server.connected
    await once(socket.resume(), 'close')
  })

  it('is handed what it takes then', async () => {
    using server = await listen()
    const words = ['act', '--url', server.url]
    const [headStart] = await findHeadStart(words, { asksServer: true }, {})
    expect(headStart).toMatchObject({ take: expect.any(Function) })
  })

  it.each<[string, Partial<CommandEntry>, Record<string, string>]>([
    ['it may ask nobody', {}, { ARTIFACT_URL: 'http://127.0.0.1:9' }],
    [
      'a proxy is in between',
      { asksServer: true },
      { ARTIFACT_URL: 'http://127.0.0.1:9', http_proxy: 'http://127.0.0.1:9' },
    ],
    ['no address is known', { asksServer: true }, {}],
  ])('connects to nobody beforehand when %s', async (_, changes, variables) => {
    expect(await findHeadStart(['act'], changes, variables)).toEqual([undefined])
  })
})
