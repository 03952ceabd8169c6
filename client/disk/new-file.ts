/** Files that a person asked for: whole and durable, and nothing is replaced unawares. */
import { randomUUID } from 'node:crypto'
import { rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { publishFile, targetExists, writeDurable } from './durable.ts'

/** Throws `target_exists` when something has this name. */
export async function checkAbsent(path: string): Promise<void> {
  const isThere = await stat(path).then(
    () => true,
    () => false,
  )
  if (isThere) throw targetExists(path)
}

/**
 * Writes a file, durably; without `replace` it throws `target_exists` when the name is taken, even at
 * this very moment. Mode 0644 as the umask allows: it is meant to be shown. Throws `local_io`.
 */
export async function writeNewFile(
  path: string,
  text: string | Uint8Array,
  { replace }: { replace: boolean },
): Promise<void> {
  const draft = join(dirname(path), `.artifact.${randomUUID()}.draft`)
  try {
    await writeDurable(draft, text, 0o644)
    await publishFile(draft, path, { replace })
  } finally {
    await rm(draft, { force: true })
  }
}
