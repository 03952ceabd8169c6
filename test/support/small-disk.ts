/** Disks that are soon full. */
import { execFileSync } from 'node:child_process'
import { mkdir } from 'node:fs/promises'

/** A folder on a disk of its own that holds this much; `undefined` where none can be mounted. */
export async function mountSmallDisk(
  path: string,
  sizeBytes: number,
): Promise<Disposable | undefined> {
  await mkdir(path)
  try {
    const options = ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'tmpfs', path]
    execFileSync('mount', options, { stdio: 'ignore' })
  } catch {
    return undefined
  }
  return { [Symbol.dispose]: () => execFileSync('umount', [path]) }
}
