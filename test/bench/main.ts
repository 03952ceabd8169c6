/**
 * `npm run bench`: ours, the tools that people use today, and the floors, side by side in one run.
 *
 *     npm run bench -- [--only upload,get] [--size 64MiB,1GiB] [--rounds 5] [--tools ours-s3,aws]
 *                      [--json PATH] [--work-dir DIR] [--program PATH]
 *                      [--s3-endpoint URL --s3-bucket NAME]
 *
 * Nothing is asserted but that the bytes arrive. The programs run as `npm run build` makes them, or
 * as `--program` says.
 */
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { findFloors } from './floors.ts'
import { makeFile, parseSize } from './loads.ts'
import { describeMachine } from './machine.ts'
import { startOurs } from './ours.ts'
import { findPeers } from './peers.ts'
import { type Result, runRounds, type Verb } from './rounds.ts'
import { startStore, useStore } from './store.ts'
import { formatResult } from './table.ts'
import { ask, type Tool } from './tools.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'upload,get,folder' },
    size: { type: 'string', default: '64MiB,1GiB' },
    rounds: { type: 'string', default: '5' },
    tools: { type: 'string' },
    json: { type: 'string' },
    'work-dir': { type: 'string' },
    program: { type: 'string' },
    's3-endpoint': { type: 'string' },
    's3-bucket': { type: 'string', default: 'bench' },
  },
})

const root = join(import.meta.dirname, '..', '..')
const say = (text: string) => void process.stdout.write(`${text}\n`)
const report = (text: string) => void process.stderr.write(`${text}\n`)

await main()

async function main(): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const folder = await mkdtemp(join(values['work-dir'] ?? '/dev/shm', 'artifact-bench-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  // The embedded Postgres runs as another user when this runs as root, and must reach its folder.
  await chmod(folder, 0o711)
  removeWhenStopped(folder)
  const program = values.program ?? build()
  const machine = describeMachine(folder)
  const store = stack.use(
    values['s3-endpoint'] === undefined
      ? await startStore({ gib: 10 })
      : useStore(values['s3-endpoint'], values['s3-bucket']),
  )
  const version = ask([process.execPath, program, '--version']) ?? ''
  const onS3 = stack.use(await startOurs({ program, version, folder, store }))
  const onFiles = stack.use(await startOurs({ program, version, folder }))
  const peers = findPeers(store, folder)
  const floors = findFloors(store)
  const wanted = values.tools?.split(',')
  const tools = [onS3.tool, onFiles.tool, ...peers.tools, ...floors.tools].filter(
    ({ key }) => wanted === undefined || wanted.includes(key),
  )
  say(formatHead(machine, store.title, tools, [...peers.absent, ...floors.absent]))
  const results: Result[] = []
  const rounds = Number(values.rounds)
  const only = values.only.split(',')
  const measureLoad = async (verb: Verb, load: Parameters<typeof runRounds>[2]) => {
    const result = await runRounds(verb, tools, load, rounds, report)
    results.push(result)
    say(`\n${formatResult(result)}`)
  }
  for (const size of values.size.split(','))
    if (only.includes('upload') || only.includes('get')) {
      const load = await makeFile(folder, parseSize(size))
      if (only.includes('upload')) await measureLoad('upload', load)
      if (only.includes('get')) await measureLoad('get', load)
      await rm(load.path)
    }
  if (values.json !== undefined)
    await writeFile(values.json, `${JSON.stringify({ machine, results }, null, 2)}\n`)
}

/** Servers and store end by themselves: they get the signal too, or see their input end. */
function removeWhenStopped(folder: string): void {
  for (const [signal, exit] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.once(signal, () => {
      rmSync(folder, { recursive: true, force: true, maxRetries: 10 })
      process.exit(exit)
    })
}

function build(): string {
  const { status } = spawnSync(process.execPath, [join(root, 'test', 'build.ts')], {
    stdio: 'inherit',
  })
  if (status !== 0) throw new Error('Cannot build what is to be measured')
  return join(root, 'dist', 'server', 'main.js')
}

function formatHead(
  machine: ReturnType<typeof describeMachine>,
  store: string,
  tools: readonly Tool[],
  absent: readonly string[],
): string {
  const versions = new Set(tools.map(({ version }) => version).filter(Boolean))
  return [
    `${machine.processor}, ${machine.cores} cores, ${machine.memoryGib} GiB, Linux ${machine.kernel}, Node ${machine.node}, files on ${machine.fileSystem}, ${machine.date}`,
    `Store: ${store}. ${[...versions].join(', ')}.`,
    ...(absent.length === 0 ? [] : [`Not installed and left out: ${absent.join(', ')}.`]),
  ].join('\n')
}
