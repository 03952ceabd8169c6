import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { acquirePassingLock } from '../../client/disk/passing-lock.ts'

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'artifact-passing-lock-'))
  path = join(folder, 'lock')
})
afterEach(() => rm(folder, { recursive: true }))

/** Takes the lock in another process, which says how that went and then ends. */
async function tryElsewhere(): Promise<string> {
  const module = new URL('../../client/disk/passing-lock.ts', import.meta.url).href
  const other = spawn(process.execPath, [
    '--input-type=module-typescript',
    '--eval',
    `import { acquirePassingLock } from ${JSON.stringify(module)}
     const outcome = acquirePassingLock(${JSON.stringify(path)}).then(() => 'held', ({ code }) => code)
     process.stdout.write(await outcome)`,
  ])
  let said = ''
  other.stdout.on('data', (chunk) => {
    said += chunk
  })
  await once(other, 'close')
  return said
}

describe('acquirePassingLock()', () => {
  it('leaves nothing behind', async () => {
    {
      await using _lock = await acquirePassingLock(path)
      expect(await readdir(folder)).toEqual(['lock'])
    }
    expect(await readdir(folder)).toEqual([])
  })

  it('takes over the file of a holder that died', async () => {
    await writeFile(path, '')
    await using _lock = await acquirePassingLock(path)
  })

  it('keeps other processes out, also after a second try in this one', async () => {
    await using _lock = await acquirePassingLock(path)
    await expect(acquirePassingLock(path)).rejects.toMatchObject({ code: 'locked' })
    expect(await tryElsewhere()).toBe('locked')
  })

  it('lets one of many in at a time', async () => {
    let inside = 0
    let most = 0
    const enter = async (): Promise<'entered' | 'refused'> => {
      try {
        await using _lock = await acquirePassingLock(path)
        most = Math.max(most, ++inside)
        await readdir(folder)
        inside--
        return 'entered'
      } catch {
        return 'refused'
      }
    }
    const outcomes = await Promise.all(Array.from({ length: 50 }, enter))
    expect(outcomes).toContain('entered')
    expect(most).toBe(1)
    expect(await readdir(folder)).toEqual([])
  })
})
