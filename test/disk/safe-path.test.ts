import { mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { findFileNameFault, openFolderPaths } from '../../client/disk/safe-path.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

let work: WorkFolder
beforeEach(async () => {
  work = await makeWorkFolder()
})
afterEach(() => work[Symbol.asyncDispose]())

const unsafe = { code: 'unsafe_path' }

describe('openFolderPaths()', () => {
  it('makes the folders of a name', async () => {
    const paths = await openFolderPaths(work.at('new', 'root'), 'linux')
    expect(await paths.claim('a/b/c')).toBe(work.at('new', 'root', 'a', 'b', 'c'))
    expect((await stat(work.at('new', 'root', 'a', 'b'))).isDirectory()).toBe(true)
  })

  it('never leads outside, whatever the name', async () => {
    const paths = await openFolderPaths(work.path, 'linux')
    const segment = fc.oneof(
      fc.constantFrom('.', '..', '', 'a', '...', '\\', 'c:', '\0', '~'),
      fc.string({ maxLength: 5 }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(segment, { minLength: 1, maxLength: 5 }), async (segments) => {
        const path = await paths.claim(segments.join('/')).catch(() => join(work.path, 'refused'))
        expect(path.startsWith(`${work.path}/`)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  it('refuses a name twice, and a file where a folder is', async () => {
    const paths = await openFolderPaths(work.path, 'linux')
    await paths.claim('a')
    await expect(paths.claim('a')).rejects.toMatchObject(unsafe)
    await expect(paths.claim('a/b')).rejects.toMatchObject(unsafe)
    await paths.claim('c/d')
    await expect(paths.claim('c')).rejects.toMatchObject(unsafe)
    expect(await paths.claim('A')).toBe(work.at('A'))
  })

  it('refuses a folder that would be removed for one of drafts', async () => {
    const name = '.artifact-drafts-0123456789abcdef'
    const paths = await openFolderPaths(work.path, 'darwin')
    for (const one of [name, `${name}/a`, `${name.toUpperCase()}/a`])
      await expect(paths.claim(one)).rejects.toMatchObject(unsafe)
    expect(await paths.claim(`a/${name}`)).toBe(work.at('a', name))
  })

  it.each(['win32', 'darwin'] as const)('refuses names that %s takes for one', async (platform) => {
    const paths = await openFolderPaths(work.path, platform)
    await paths.claim('Read.me')
    await expect(paths.claim('read.ME')).rejects.toMatchObject(unsafe)
    await paths.claim('é')
    await expect(paths.claim('e\u0301')).rejects.toMatchObject(unsafe)
  })

  it('follows a link inside, and none outside', async () => {
    await mkdir(work.at('root', 'real'), { recursive: true })
    await mkdir(work.at('outside'))
    await symlink(work.at('root', 'real'), work.at('root', 'in'))
    await symlink(work.at('outside'), work.at('root', 'out'))
    await symlink('..', work.at('root', 'up'))
    await writeFile(work.at('root', 'file'), '')
    const paths = await openFolderPaths(work.at('root'), 'linux')
    expect(await paths.claim('in/x')).toBe(work.at('root', 'in', 'x'))
    await expect(paths.claim('out/x')).rejects.toMatchObject(unsafe)
    await expect(paths.claim('out/y/x')).rejects.toMatchObject(unsafe)
    await expect(paths.claim('up/x')).rejects.toMatchObject(unsafe)
    await expect(paths.claim('file/x')).rejects.toMatchObject(unsafe)
    expect(await readdir(work.at('outside'))).toEqual([])
  })
})

describe('findFileNameFault()', () => {
  it.each(['con', 'NUL.txt', 'a/COM1/b', 'lpt9', 'x.', 'x ', 'a:b', 'a?', 'CONIN$'])(
    'refuses %j on Windows alone',
    (name) => {
      expect(findFileNameFault(name, 'win32')).toBeDefined()
      expect(findFileNameFault(name, 'linux')).toBeUndefined()
    },
  )
  it.each(['console', 'a/b.c', 'nul1', '.hidden'])('accepts %j everywhere', (name) => {
    expect(findFileNameFault(name, 'win32')).toBeUndefined()
  })
  it.each(['..', 'a/../b', '/a', 'a\\b'])('refuses %j everywhere', (name) => {
    expect(findFileNameFault(name, 'linux')).toBeDefined()
  })
})
