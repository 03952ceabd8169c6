/** The folder of a server that keeps its data on this machine. */
import { randomBytes } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeDurable } from '../client/disk/durable.ts'
import { acquireLock, type Lock } from '../client/disk/lock.ts'
import { ArtifactError } from '../schemas/problems.ts'

/**
 * Makes the folder when missing and takes it for this process. Others may pass through it, since
 * Postgres may run as another user, but not read it. Throws `locked` when another server has it.
 */
export async function takeDataFolder(folder: string): Promise<Lock> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o711 })
  } catch (cause) {
    throw new ArtifactError('configuration', `Cannot use the data folder ${folder}`, {
      expected: 'a folder that can be made and written (--data-dir)',
      cause,
    })
  }
  try {
    return await acquireLock(join(folder, 'server.lock'))
  } catch (error) {
    if (error instanceof ArtifactError && error.code === 'locked')
      throw new ArtifactError('locked', `Cannot serve ${folder}: another server has it`, {
        cause: error,
      })
    throw error
  }
}

/** The key that signs grants; made the first time, so that grants outlive a restart. */
export async function keepGrantSecret(folder: string): Promise<Uint8Array> {
  const path = join(folder, 'grant-secret')
  const known = await readFile(path).catch(() => undefined)
  if (known !== undefined && known.length >= 32) return known
  const secret = randomBytes(32)
  await writeDurable(path, secret)
  return secret
}
