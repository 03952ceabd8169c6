import { readdir, stat, utimes, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { newEntry, openJournal } from '../../client/transfer/journal.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

let work: WorkFolder
beforeEach(async () => {
  work = await makeWorkFolder()
})
afterEach(() => work[Symbol.asyncDispose]())

const identity = { server: 'http://host', task: 't', run: undefined, sizeBytes: 5n, mtimeNs: 7n }

describe('openJournal()', () => {
  it('remembers an entry for the very same words only', async () => {
    const folder = work.at('journal')
    const entry = newEntry()
    await openJournal(folder, identity).write(entry)
    expect(await openJournal(folder, { ...identity }).read()).toEqual(entry)
    for (const other of [
      { server: 'http://other' },
      { run: 0 },
      { sizeBytes: 6n },
      { mtimeNs: 8n },
    ])
      expect(await openJournal(folder, { ...identity, ...other }).read()).toBeUndefined()
    expect((await stat(folder)).mode & 0o777).toBe(0o700)
    await openJournal(folder, identity).remove()
    await openJournal(folder, identity).remove()
    expect(await readdir(folder)).toEqual([])
  })

  it.each(['', '{', '[]', '{"uploadId":"x"}'])('begins anew after an entry of %j', async (text) => {
    const slot = openJournal(work.path, identity)
    await slot.write(newEntry())
    const [name = ''] = await readdir(work.path)
    await writeFile(work.at(name), text)
    expect(await slot.read()).toBeUndefined()
  })

  it('forgets what nobody came back to', async () => {
    await openJournal(work.path, { old: true }).write(newEntry())
    const [name = ''] = await readdir(work.path)
    const then = new Date('2020-02-02T02:02:02Z')
    await utimes(work.at(name), then, then)
    await openJournal(work.path, identity).write(newEntry())
    expect(await readdir(work.path)).not.toContain(name)
    expect(await readdir(work.path)).toHaveLength(1)
  })

  it('remembers nothing without a folder', async () => {
    const slot = openJournal(undefined, identity)
    await slot.write(newEntry())
    expect(await slot.read()).toBeUndefined()
  })
})
