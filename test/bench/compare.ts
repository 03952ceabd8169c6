/** Whether bytes that arrived are the bytes that were sent, as cmp and diff see it. */
import { run } from './measure.ts'
import type { Load } from './tools.ts'

/** Rejects unless a file or folder is the load, byte for byte. */
export async function compareFiles(load: Load, target: string): Promise<void> {
  const words = load.kind === 'file' ? ['cmp'] : ['diff', '-r']
  await run({ words: [...words, load.path, target] })
}

/** Rejects unless what a command writes is the content of a file. */
export async function compareStream(
  words: readonly string[],
  file: string,
  environment?: NodeJS.ProcessEnv,
): Promise<void> {
  // What the command writes never passes through this program.
  const script = 'set -o pipefail; file=$1; shift; "$@" | cmp - "$file"'
  await run({
    words: ['bash', '-c', script, 'bash', file, ...words],
    ...(environment === undefined ? {} : { environment }),
  })
}
