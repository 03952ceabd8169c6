import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { acquireLock } from '../../client/disk/lock.ts'

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'artifact-lock-'))
  path = join(folder, 'lock')
})
afterEach(() => rm(folder, { recursive: true }))

describe('acquireLock()', () => {
  test('refuses a second holder in the same process, until the first lets go', async () => {
    {
      await using _first = await acquireLock(path)
      await expect(acquireLock(path)).rejects.toMatchObject({ code: 'locked' })
    }
    await using again = await acquireLock(path)
    expect(again.path).toBe(path)
  })

  test('may be let go of twice', async () => {
    const lock = await acquireLock(path)
    await lock[Symbol.asyncDispose]()
    await lock[Symbol.asyncDispose]()
    await using _next = await acquireLock(path)
  })

  test('refuses while another process holds it, and not once that was killed', async () => {
    const holder = spawn(process.execPath, [
      '--input-type=module-typescript',
      '--eval',
      `import { acquireLock } from ${JSON.stringify(new URL('../../client/disk/lock.ts', import.meta.url).href)}
       await acquireLock(${JSON.stringify(path)})
       process.stdout.write('held')
       setInterval(() => {}, 60_000)`,
    ])
    const ended = once(holder, 'exit')
    await once(holder.stdout, 'data')
    await expect(acquireLock(path)).rejects.toMatchObject({ code: 'locked' })
    holder.kill('SIGKILL')
    await ended
    await using _lock = await acquireLock(path)
  })

  test('leaves one empty file', async () => {
    {
      await using _lock = await acquireLock(path)
      expect(await readdir(folder)).toEqual(['lock'])
    }
    expect(await readdir(folder)).toEqual(['lock'])
    expect((await stat(path)).size).toBe(0)
  })

  test('reports a folder that is not there', async () => {
    await expect(acquireLock(join(folder, 'none', 'lock'))).rejects.toMatchObject({
      code: 'local_io',
    })
  })

  test('reports a file that is something else, and leaves it as it is', async () => {
    await writeFile(path, 'somebody wrote a letter here, long enough to be read as a header')
    await expect(acquireLock(path)).rejects.toMatchObject({ code: 'local_io' })
    expect((await stat(path)).size).toBe(64)
  })
})
