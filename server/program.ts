/** All commands of `artifact` under one name: those of the client, and `serve`. */
import { runCommandLine } from '../client/command-line.ts'
import type { CommandEntry } from '../client/commands/command.ts'
import { clientCommands } from '../client/commands/registry.ts'
import { openProcessContext } from '../client/process-context.ts'
import { readVersion } from './version.ts'

const serve: CommandEntry = {
  name: 'serve',
  summary: 'Run the server',
  load: async () => (await import('./commands/serve.ts')).serve,
}

const signer: CommandEntry = {
  name: 'signer',
  summary: 'Sign the transparency log as a process of its own',
  load: async () => (await import('./commands/signer.ts')).signer,
}

const witnessInit: CommandEntry = {
  name: 'witness init',
  summary: 'Make a witness: a key, and a memory of nothing',
  load: async () => (await import('./commands/witness.ts')).witnessInit,
}

const witnessServe: CommandEntry = {
  name: 'witness serve',
  summary: 'Cosign the heads of logs that only grow',
  load: async () => (await import('./commands/witness.ts')).witnessServe,
}

const packsRebuild: CommandEntry = {
  name: 'packs rebuild',
  summary: 'Find the places of small artifacts in the bucket again',
  load: async () => (await import('./commands/packs-rebuild.ts')).packsRebuild,
}

/** Those that parse the same things again and again. */
const SERVERS: ReadonlySet<string> = new Set(['serve', 'signer', 'witness serve'])

/** Those that may move very many files, or serve those who do. */
const HEAVY: ReadonlySet<string> = new Set(['upload', 'get', 'verify', 'serve', 'packs rebuild'])

/** Who takes less fills no heap, and is spared the modules that look at it. */
const BRIEF_MS = 300

/** Runs the command line of this process and returns its exit code. */
export async function runProgram(argv: readonly string[]): Promise<number> {
  using context = openProcessContext(readVersion())
  return await runCommandLine(
    argv,
    [...clientCommands, serve, signer, witnessInit, witnessServe, packsRebuild]
      .map(withCompiledParsers)
      .map(inSmallHeap),
    context,
    {
      variables: async () => (await import('./settings.ts')).serverVariables(),
    },
  )
}

/** Chooses before the schemas of a server are loaded. */
function withCompiledParsers(entry: CommandEntry): CommandEntry {
  if (!SERVERS.has(entry.name)) return entry
  return {
    ...entry,
    load: async () => {
      const { compileParsers } = await import('../client/commands/command.ts')
      compileParsers(true)
      return entry.load()
    },
  }
}

/** Bounds the heap of a heavy command, unless it ends at once: most move one small file. */
function inSmallHeap(entry: CommandEntry): CommandEntry {
  if (!HEAVY.has(entry.name)) return entry
  const atOnce = SERVERS.has(entry.name)
  const bound = async () => (await import('./heap-bounds.ts')).boundHeap({ atOnce })
  return {
    ...entry,
    load: async () => {
      if (atOnce) await bound()
      else setTimeout(bound, BRIEF_MS).unref()
      return entry.load()
    },
  }
}
