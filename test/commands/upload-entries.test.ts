import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findEntries, isFolder } from '../../client/commands/upload-entries.ts'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'artifact-entries-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function write(...names: string[]): Promise<void> {
  for (const name of names) {
    await mkdir(join(folder, name, '..'), { recursive: true })
    await writeFile(join(folder, name), name)
  }
}

const namesOf = async (paths: string[], prefix?: string, followLinks = false) =>
  (await findEntries(paths, prefix, followLinks)).map(({ name }) => name)

describe('findEntries()', () => {
  it('names files below a folder by their path in it, sorted', async () => {
    await write('dist/b.txt', 'dist/a/z.txt', 'dist/a/.hidden', 'dist/a b.txt')
    expect(await namesOf([join(folder, 'dist')])).toEqual([
      'a/.hidden',
      'a/z.txt',
      'a b.txt',
      'b.txt',
    ])
  })

  it('names single files by their last segment, after a prefix if there is one', async () => {
    await write('x/one', 'y/two')
    const paths = [join(folder, 'x/one'), join(folder, 'y/two')]
    expect(await namesOf(paths)).toEqual(['one', 'two'])
    expect(await namesOf(paths, 'logs')).toEqual(['logs/one', 'logs/two'])
  })

  it('refuses symbolic links and special files, all of them by name', async () => {
    await write('dist/a')
    await symlink('a', join(folder, 'dist/link'))
    const socket = createServer()
    await new Promise<void>((resolve) => socket.listen(join(folder, 'dist/socket'), resolve))
    const refused = namesOf([join(folder, 'dist')])
    await expect(refused).rejects.toMatchObject({ code: 'unsafe_path' })
    await expect(refused).rejects.toThrow(/link is a symbolic link; .*socket is no plain file/)
    await new Promise((resolve) => socket.close(resolve))
  })

  it('follows links on request, but not in a circle', async () => {
    await write('dist/a', 'other/b')
    await symlink('../other', join(folder, 'dist/more'))
    expect(await namesOf([join(folder, 'dist')], undefined, true)).toEqual(['a', 'more/b'])
    await symlink('..', join(folder, 'dist/up'))
    await expect(namesOf([join(folder, 'dist')], undefined, true)).rejects.toThrow(
      /leads back to a folder above it/,
    )
  })

  it('refuses two files with one name', async () => {
    await write('x/same', 'y/same')
    await expect(namesOf([join(folder, 'x/same'), join(folder, 'y/same')])).rejects.toMatchObject({
      code: 'usage',
      found: 'same',
    })
  })

  it('refuses a name that cannot be one', async () => {
    await write('dist/back\\slash')
    await expect(namesOf([join(folder, 'dist')])).rejects.toThrow(/expected no backslash/)
  })

  it('refuses an empty folder and a missing file', async () => {
    await expect(namesOf([folder])).rejects.toMatchObject({ code: 'usage' })
    await expect(namesOf([join(folder, 'none')])).rejects.toMatchObject({ code: 'local_io' })
  })
})

describe('isFolder()', () => {
  it('does not look through a link unless told', async () => {
    await mkdir(join(folder, 'real'))
    await symlink('real', join(folder, 'link'))
    expect(await isFolder(join(folder, 'link'), false)).toBe(false)
    expect(await isFolder(join(folder, 'link'), true)).toBe(true)
  })
})
