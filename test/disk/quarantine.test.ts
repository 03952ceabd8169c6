import {
  chmod,
  link,
  mkdir,
  readdir,
  readFile,
  stat,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { publishFile, writeDurable } from '../../client/disk/durable.ts'
import { openQuarantine, openSpool } from '../../client/disk/quarantine.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const SHA = 'ab'.repeat(32)
const NAME = '.file.abababababab.artifact-partial'

let work: WorkFolder
beforeEach(async () => {
  work = await makeWorkFolder()
})
afterEach(() => work[Symbol.asyncDispose]())

const bytes = Buffer.from('verified')
const list = async () => (await readdir(work.path)).sort()

describe('openQuarantine()', () => {
  it('gives the bytes their name, and leaves nothing else', async () => {
    {
      await using quarantine = await openQuarantine(work.at('file'), SHA, { force: false })
      await quarantine.write(bytes, 0n)
      expect((await stat(work.at(NAME))).mode & 0o777).toBe(0o600)
      await quarantine.publish()
    }
    expect(await list()).toEqual(['file'])
    expect(await readFile(work.at('file'))).toEqual(bytes)
    expect((await stat(work.at('file'))).mode & 0o777).toBe(0o666 & ~process.umask())
  })

  it('removes what was not published', async () => {
    {
      await using quarantine = await openQuarantine(work.at('file'), SHA, { force: false })
      await quarantine.write(bytes, 0n)
    }
    expect(await list()).toEqual([])
  })

  it('keeps what is to be kept, and finds it again', async () => {
    {
      await using quarantine = await openQuarantine(work.at('file'), SHA, { force: false })
      await quarantine.write(bytes, 0n)
      quarantine.keep()
    }
    expect(await list()).toEqual([NAME])
    await using again = await openQuarantine(work.at('file'), SHA, { force: false })
    const buffer = Buffer.alloc(20)
    expect(await again.read(buffer, 0n)).toBe(bytes.length)
    expect(buffer.subarray(0, bytes.length)).toEqual(bytes)
  })

  it('does not mix the bytes of another content', async () => {
    {
      await using quarantine = await openQuarantine(work.at('file'), SHA, { force: false })
      await quarantine.write(bytes, 0n)
      quarantine.keep()
    }
    await using other = await openQuarantine(work.at('file'), 'cd'.repeat(32), { force: false })
    expect(await other.sizeBytes()).toBe(0n)
  })

  it('is for one at a time, and free again afterwards', async () => {
    for (let round = 0; round < 3; round++) {
      await using first = await openQuarantine(work.at('file'), SHA, { force: false })
      await expect(openQuarantine(work.at('file'), SHA, { force: false })).rejects.toMatchObject({
        code: 'locked',
      })
      await first.write(bytes, 0n)
    }
    expect(await list()).toEqual([])
  })

  it('never replaces what appears meanwhile, unless forced', async () => {
    {
      await using quarantine = await openQuarantine(work.at('file'), SHA, { force: false })
      await writeFile(work.at('file'), 'first')
      await expect(quarantine.publish()).rejects.toMatchObject({ code: 'target_exists' })
    }
    expect(await readFile(work.at('file'), 'utf8')).toBe('first')
    await using forced = await openQuarantine(work.at('file'), SHA, { force: true })
    await forced.write(bytes, 0n)
    await forced.publish()
    expect(await readFile(work.at('file'))).toEqual(bytes)
  })

  it('replaces no folder, even when forced, and a link as such', async () => {
    await mkdir(work.at('file'))
    await expect(openQuarantine(work.at('file'), SHA, { force: false })).rejects.toMatchObject({
      code: 'target_exists',
    })
    await expect(openQuarantine(work.at('file'), SHA, { force: true })).rejects.toMatchObject({
      code: 'unsafe_path',
    })
    await writeFile(work.at('precious'), 'precious')
    await symlink(work.at('precious'), work.at('link'))
    await using forced = await openQuarantine(work.at('link'), SHA, { force: true })
    await forced.publish()
    expect(await readFile(work.at('precious'), 'utf8')).toBe('precious')
  })

  it('takes over nothing in which somebody else may have a hand', async () => {
    await writeFile(work.at('outside'), 'outside', { mode: 0o600 })
    const plants = [
      () => symlink(work.at('outside'), work.at(NAME)),
      () => link(work.at('outside'), work.at(NAME)),
      () => writeFile(work.at(NAME), 'open to all').then(() => chmod(work.at(NAME), 0o666)),
    ]
    for (const plant of plants) {
      await plant()
      await using quarantine = await openQuarantine(work.at('file'), SHA, { force: false })
      expect(await quarantine.sizeBytes()).toBe(0n)
      await quarantine.write(bytes, 0n)
      expect(await readFile(work.at('outside'), 'utf8')).toBe('outside')
    }
  })

  it('publishes nothing that was put in its place', async () => {
    await using quarantine = await openQuarantine(work.at('file'), SHA, { force: false })
    await quarantine.write(bytes, 0n)
    await unlink(work.at(NAME))
    await writeFile(work.at(NAME), 'other bytes')
    await expect(quarantine.publish()).rejects.toMatchObject({ code: 'unsafe_path' })
    expect(await list()).not.toContain('file')
  })

  it('says which folder is missing', async () => {
    await expect(
      openQuarantine(work.at('no', 'file'), SHA, { force: false }),
    ).rejects.toMatchObject({ code: 'local_io', message: expect.stringContaining(work.at('no')) })
  })

  it('says that a folder takes no file', async () => {
    // Closed even to root, for whom no mode is read-only.
    await expect(openQuarantine('/proc/file', SHA, { force: false })).rejects.toMatchObject({
      code: 'local_io',
      message: expect.stringContaining('/proc'),
    })
  })

  it('has room for the longest name that the folder takes', async () => {
    const target = work.at('n'.repeat(255))
    await using quarantine = await openQuarantine(target, SHA, { force: false })
    await quarantine.write(bytes, 0n)
    await quarantine.publish()
    expect(await readFile(target)).toEqual(bytes)
  })
})

describe('openSpool()', () => {
  it('has no name while it is used', async () => {
    await using spool = await openSpool(work.path)
    await spool.write(bytes, 5n)
    expect(await spool.sizeBytes()).toBe(BigInt(5 + bytes.length))
    expect(await list()).toEqual([])
  })
})

describe('writeDurable()', () => {
  it('replaces the whole file, readable by its owner alone', async () => {
    await writeDurable(work.at('entry'), 'long old text')
    await writeDurable(work.at('entry'), 'new')
    expect(await readFile(work.at('entry'), 'utf8')).toBe('new')
    expect((await stat(work.at('entry'))).mode & 0o777).toBe(0o600)
    expect(await list()).toEqual(['entry'])
  })

  it('leaves the old file, and nothing else, when it fails', async () => {
    await mkdir(work.at('entry', 'full'), { recursive: true })
    await expect(writeDurable(work.at('entry'), 'new')).rejects.toMatchObject({ code: 'local_io' })
    expect(await list()).toEqual(['entry'])
  })
})

describe('publishFile()', () => {
  it('says when the draft is gone', async () => {
    await expect(
      publishFile(work.at('draft'), work.at('file'), { replace: false }),
    ).rejects.toMatchObject({ code: 'local_io' })
  })

  it('lets exactly one of many win the name', async () => {
    const drafts = Array.from({ length: 8 }, (_, index) => work.at(`draft-${index}`))
    for (const draft of drafts) await writeFile(draft, draft)
    const outcomes = await Promise.allSettled(
      drafts.map((draft) => publishFile(draft, work.at('file'), { replace: false })),
    )
    expect(outcomes.filter((one) => one.status === 'fulfilled')).toHaveLength(1)
    for (const one of outcomes)
      if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'target_exists' })
  })
})
