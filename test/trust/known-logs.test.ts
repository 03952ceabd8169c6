import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openKnownLogs, rememberForNow } from '../../client/trust/known-logs.ts'
import { type OpenedCheckpoint, openCheckpoint } from '../../client/verify/checkpoint.ts'
import { trustLog } from '../../client/verify/policy.ts'
import { LOG_SIGNER, testSigner } from '../support/log-keys.ts'
import { buildStaticLog } from '../support/static-log.ts'
import { makeWorkFolder, type WorkFolder } from '../support/work-folder.ts'

const { key } = LOG_SIGNER
const otherKey = testSigner('example.com/log', 'note', 9).key
const URL = 'https://artifacts.example.com'

/** The head of a log with this many leaves. */
function headOf(size: number): OpenedCheckpoint {
  const leaves = Array.from({ length: size }, (_, at) => Buffer.from(String(at)))
  const { files } = buildStaticLog(leaves, LOG_SIGNER)
  return openCheckpoint(files.get('checkpoint') ?? '', trustLog(key))
}

let work: WorkFolder
beforeAll(async () => {
  work = await makeWorkFolder()
})
afterAll(() => work[Symbol.asyncDispose]())

describe.each([
  ['openKnownLogs()', () => openKnownLogs(work.at('shared', 'logs'))],
  ['rememberForNow()', () => rememberForNow()],
])('%s', (_, open) => {
  it('binds a server to a key, and to another one only knowingly', async () => {
    const known = open()
    expect(await known.findKey(URL)).toBeUndefined()
    expect(await known.swapKey(URL, undefined, key)).toBe(true)
    expect((await known.findKey(URL))?.id).toBe(key.id)
    expect(await known.swapKey(URL, undefined, otherKey)).toBe(false)
    expect((await known.findKey(URL))?.id).toBe(key.id)
    expect(await known.swapKey(URL, key, otherKey)).toBe(true)
    expect((await known.findKey(URL))?.id).toBe(otherKey.id)
    expect(await known.findKey(`${URL}/other`)).toBeUndefined()
  })

  it('replaces a head only when it is still the one that was read', async () => {
    const known = open()
    const [one, two, three] = [headOf(1), headOf(2), headOf(3)]
    expect(await known.findHead(key)).toBeUndefined()
    expect(await known.swapHead(undefined, one)).toBe(true)
    expect(await known.swapHead(undefined, three)).toBe(false)
    expect(await known.swapHead(one.note, two)).toBe(true)
    expect(await known.swapHead(one.note, three)).toBe(false)
    expect((await known.findHead(key))?.size).toBe(2)
    expect(await known.findHead(otherKey)).toBeUndefined()
  })
})

describe('openKnownLogs()', () => {
  it('never loses a newer head, however many write at once', async () => {
    const folder = work.at('race', 'logs')
    const heads = Array.from({ length: 20 }, (_, at) => headOf(at + 1)).sort(
      (one, other) => ((one.size * 7) % 20) - ((other.size * 7) % 20),
    )
    await Promise.all(
      heads.map(async (head) => {
        const known = openKnownLogs(folder)
        for (;;) {
          const seen = await known.findHead(key)
          if (seen !== undefined && seen.size >= head.size) return
          if (await known.swapHead(seen?.note, head)) return
        }
      }),
    )
    expect((await openKnownLogs(folder).findHead(key))?.size).toBe(20)
  })

  it('keeps files for this user alone', async () => {
    const folder = work.at('modes', 'logs')
    const known = openKnownLogs(folder, () => new Date('2026-11-21T22:16:58.123Z'))
    await known.swapKey(URL, undefined, key)
    await known.swapHead(undefined, headOf(1))
    const path = await known.saveEvidence('evidence\n')
    expect(path).toBe(work.at('modes', 'logs', 'evidence-2026-11-21T22-16-58.123Z.txt'))
    expect(await readFile(path ?? '', 'utf8')).toBe('evidence\n')
    expect((await stat(folder)).mode & 0o777).toBe(0o700)
    for (const name of (await readdir(folder)).filter((each) => each !== 'lock'))
      expect([name, (await stat(work.at('modes', 'logs', name))).mode & 0o777]).toEqual([
        name,
        0o600,
      ])
  })

  it.each([
    ['emptied', () => ''],
    ['cut', (text: string) => text.slice(0, -9)],
    ['changed', (text: string) => text.replace('\n', 'x\n')],
  ])('refuses a memory that was %s, rather than beginning anew', async (how, damage) => {
    const folder = work.at(`damaged-${how}`, 'logs')
    const known = openKnownLogs(folder)
    await known.swapKey(URL, undefined, key)
    await known.swapHead(undefined, headOf(3))
    for (const name of (await readdir(folder)).filter((each) => each !== 'lock')) {
      const path = work.at(`damaged-${how}`, 'logs', name)
      await writeFile(path, damage(await readFile(path, 'utf8')))
    }
    await expect(known.findKey(URL)).rejects.toMatchObject({ code: 'local_io' })
    await expect(known.findHead(key)).rejects.toMatchObject({ code: 'local_io' })
  })
})
