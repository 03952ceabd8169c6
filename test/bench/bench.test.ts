/** The benchmark itself: that all of it that needs no store runs, and that what it computes is so. */
import { execFile } from 'node:child_process'
import { chmod, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { makeWorkFolder } from '../support/work-folder.ts'
import { formatSize, makeFile, parseSize } from './loads.ts'
import { measure } from './measure.ts'
import { presignUrl } from './presign.ts'
import { Measured, replaceTables } from './readme-tables.ts'
import { formatTable, spread } from './table.ts'

const MIB = 1024 ** 2
const execute = promisify(execFile)

describe('self-check', () => {
  it('measures every part that needs no store', async () => {
    await using folder = await makeWorkFolder()
    // The embedded Postgres runs as another user when this runs as root, and must reach its folder.
    await chmod(folder.path, 0o711)
    const main = join(import.meta.dirname, 'main.ts')
    const program = join(import.meta.dirname, '..', '..', 'server', 'main.ts')
    const json = folder.at('measured.json')
    const words = [main, '--self-check', '--program', program, '--json', json]
    const { stdout } = await execute(process.execPath, [...words, '--work-dir', folder.path])
    const { sections } = Measured.parse(JSON.parse(await readFile(json, 'utf8')))
    expect(sections.map(({ title }) => title)).toEqual([
      'upload 1 MiB',
      'get 1 MiB',
      'upload 10 × 1 KiB',
      'get 10 × 1 KiB',
      'start',
      'memory',
    ])
    for (const { text } of sections) expect(stdout).toContain(text)
    expect(stdout).not.toContain('failed')
  }, 300_000)
})

describe('measure', () => {
  it('counts the work of processes that the command started and that ended before it', async () => {
    const burn = 'for (const end = process.cpuUsage().user + 2e5; process.cpuUsage().user < end; );'
    const script = '"$0" -e "$1" & wait $!'
    const { sample } = await measure({ words: ['bash', '-c', script, process.execPath, burn] })
    expect(sample.userSeconds).toBeGreaterThanOrEqual(0.2)
  })

  it('sees the memory of the largest process', async () => {
    const fill = `const held = Buffer.alloc(${150 * MIB}, 1); setTimeout(() => held.length, 200)`
    const { sample } = await measure({ words: [process.execPath, '-e', fill] })
    expect(sample.peakBytes).toBeGreaterThan(150 * MIB)
    expect(sample.peakSumBytes).toBeGreaterThanOrEqual(sample.peakBytes)
  })

  it('keeps what the command prints, and rejects with its words when it fails', async () => {
    const { stdout } = await measure({ words: ['bash', '-c', 'echo found; echo noise >&2'] })
    expect(stdout).toBe('found\n')
    const failing = measure({ words: ['bash', '-c', 'echo no such thing >&2; exit 3'] })
    await expect(failing).rejects.toThrow(/ended with 3: no such thing/)
  })

  it('interrupts a command once it has said enough', async () => {
    const stoppable = `process.on('SIGINT', () => { console.log('stopped'); process.exit(130) })
      setInterval(() => console.error('enough'), 10)`
    const stopWhen = (stderr: string) => stderr.includes('enough')
    const { stdout } = await measure({ words: [process.execPath, '-e', stoppable], stopWhen })
    expect(stdout).toBe('stopped\n')
  })
})

describe('loads', () => {
  it.each([
    ['1KiB', 1024, '1 KiB'],
    ['64 MiB', 64 * MIB, '64 MiB'],
    ['1.5GiB', undefined, ''],
    ['512', 512, '512 B'],
    ['1536', 1536, '1536 B'],
    ['1GB', undefined, ''],
  ])('reads the size %s', (text, bytes, formatted) => {
    if (bytes === undefined) expect(() => parseSize(text)).toThrow(/Cannot read a size/)
    else expect([parseSize(text), formatSize(parseSize(text))]).toEqual([bytes, formatted])
  })

  it('makes files of their size, each other than the last', async () => {
    await using folder = await makeWorkFolder()
    const first = await makeFile(folder.path, 5 * MIB)
    expect((await stat(first.path)).size).toBe(5 * MIB)
    await expect(makeFile(folder.path, 5 * MIB)).rejects.toThrow(/EEXIST/)
    const head = (await readFile(first.path)).subarray(0, 64)
    const second = await makeFile(folder.path, MIB)
    expect((await readFile(second.path)).subarray(0, 64).equals(head)).toBe(false)
  })
})

describe('tables', () => {
  it.each([
    [[3, 1, 2], { min: 1, median: 2, max: 3 }],
    [[4, 1, 3, 2], { min: 1, median: 2.5, max: 4 }],
    [[7], { min: 7, median: 7, max: 7 }],
  ])('finds the spread of %j', (values, expected) => {
    expect(spread(values)).toEqual(expected)
  })

  it('lines up columns', () => {
    expect(formatTable(['who', 's'], [['ours', '1.00']])).toBe(
      ['| who  |    s |', '| ---- | ---: |', '| ours | 1.00 |'].join('\n'),
    )
  })

  it('replaces what is between the marks of the README, and nothing else', () => {
    const begin = '<!-- bench: written by npm run bench -->'
    const text = `before\n${begin}\nold\n<!-- bench: end -->\nafter\n`
    const expected = `before\n${begin}\nnew\n<!-- bench: end -->\nafter\n`
    expect(replaceTables(text, 'new')).toBe(expected)
    expect(() => replaceTables('no marks', 'new')).toThrow(/Cannot write the tables/)
  })
})

describe('presign', () => {
  it('signs as the example of AWS does', () => {
    const account = {
      region: 'us-east-1',
      accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
      secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
    }
    const object = new URL('https://examplebucket.s3.amazonaws.com/test.txt')
    const signedAt = new Date('2013-05-24T00:00:00Z')
    const url = presignUrl(object, 'GET', account, { signedAt, expiresSeconds: 86_400 })
    expect(new URL(url).searchParams.get('X-Amz-Signature')).toBe(
      'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404',
    )
  })
})
