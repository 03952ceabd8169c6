import { mkdir, readdir, readFile, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openDraftFolder } from '../../client/disk/draft-folder.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

let work: WorkFolder
beforeEach(async () => {
  work = await makeWorkFolder()
})
afterEach(() => work[Symbol.asyncDispose]())

const bytes = Buffer.from('verified')
const codesOf = (outcomes: readonly ({ error: unknown } | undefined)[]) =>
  outcomes.map((one) =>
    one?.error instanceof Error && 'code' in one.error ? one.error.code : 'done',
  )

describe('openDraftFolder()', () => {
  it('gives files their names, and leaves nothing else', async () => {
    await mkdir(work.at('deep'))
    const targets = [work.at('one'), work.at('deep', 'two')]
    {
      await using drafts = await openDraftFolder(work.path)
      const outcomes = await drafts.publish(
        targets.map((target) => ({ target, bytes })),
        { force: false },
      )
      expect(outcomes).toEqual([undefined, undefined])
    }
    for (const target of targets) expect(await readFile(target)).toEqual(bytes)
    expect((await stat(work.at('one'))).mode & 0o777).toBe(0o666 & ~process.umask())
    expect((await stat(work.at('one'))).nlink).toBe(1)
    expect((await readdir(work.path)).sort()).toEqual(['deep', 'one'])
  })

  it('replaces nothing without force, and only files and links with it', async () => {
    await writeFile(work.at('mine'), 'mine')
    await mkdir(work.at('folder'))
    await writeFile(work.at('else'), 'elsewhere')
    await symlink(work.at('else'), work.at('link'))
    const files = ['mine', 'folder', 'link', 'new'].map((name) => ({
      target: work.at(name),
      bytes,
    }))
    await using drafts = await openDraftFolder(work.path)
    const exists = 'target_exists'
    const careful = await drafts.publish(files, { force: false })
    expect(codesOf(careful)).toEqual([exists, exists, exists, 'done'])
    expect(await readFile(work.at('mine'), 'utf8')).toBe('mine')
    expect(codesOf(await drafts.publish(files, { force: true }))).toEqual([
      'done',
      exists,
      'done',
      'done',
    ])
    expect(await readFile(work.at('mine'))).toEqual(bytes)
    expect(await readFile(work.at('else'), 'utf8')).toBe('elsewhere')
  })

  it('names what cannot be written, and does the others', async () => {
    await using drafts = await openDraftFolder(work.path)
    const files = [work.at('absent', 'one'), work.at('two')].map((target) => ({ target, bytes }))
    expect(codesOf(await drafts.publish(files, { force: false }))).toEqual(['local_io', 'done'])
  })

  it('removes the drafts of a crash after a day, and nothing younger or of another name', async () => {
    const names = ['a', 'b'].map((digit) => `.artifact-drafts-${digit.repeat(16)}`)
    for (const name of [...names, '.artifact-drafts-notes']) await mkdir(work.at(name))
    const longAgo = (Date.now() - 90_000_000) / 1000
    await utimes(work.at(names[0] ?? ''), longAgo, longAgo)
    await utimes(work.at('.artifact-drafts-notes'), longAgo, longAgo)
    await (await openDraftFolder(work.path))[Symbol.asyncDispose]()
    expect((await readdir(work.path)).sort()).toEqual([names[1], '.artifact-drafts-notes'])
  })
})
