/** The log as Go's checksum database sees it; needs golang-go and golang-golang-x-mod-dev of Debian. */
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseCheckpoint } from '../../client/verify/checkpoint.ts'
import { createFrontier } from '../../client/verify/frontier.ts'
import { formatLeaf } from '../../client/verify/leaf.ts'
import { hashLeaf, proveConsistency, proveInclusion } from '../../client/verify/merkle.ts'
import { formatNoteKey } from '../../client/verify/note-key.ts'
import { addSignature, formatNote, parseNote, signText } from '../../client/verify/signed-note.ts'
import { formatBase64 } from '../../client/verify/strict-text.ts'
import { createTileReader } from '../../client/verify/tile-reader.ts'
import { EAST_SIGNER, LOG_SIGNER, testSigner } from '../support/log-keys.ts'
import { buildStaticLog, type StaticLog, serveTiles } from '../support/static-log.ts'

const run = promisify(execFile)
const GO_PACKAGES = '/usr/share/gocode'
const KEY = formatNoteKey(LOG_SIGNER.key)

let folder: string
let program: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'artifact-go-'))
  program = join(folder, 'interop')
  const source = join(import.meta.dirname, 'interop.go')
  await run('go', ['build', '-o', program, source], {
    env: {
      ...process.env,
      GOPATH: `${folder}:${GO_PACKAGES}`,
      GO111MODULE: 'off',
      GOFLAGS: '',
      GOCACHE: process.env.GOCACHE ?? join(tmpdir(), 'artifact-go-cache'),
    },
  })
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

const entriesOf = (size: number) =>
  Array.from({ length: size }, (_, index) =>
    formatLeaf({
      kind: 'remove',
      name: `turtle-db/${index}/db.dump`,
      of: index,
      reason: 'past its time',
      time: '2026-11-22T00:00:00.000Z',
      by: 'server',
    }),
  )

/** Proofs by our own code, in the form that the program reads. */
async function proveSome(log: StaticLog, entries: readonly Uint8Array[]): Promise<string> {
  const { size } = log.head
  const readHashes = createTileReader(log.head, serveTiles(log.files))
  const lines: string[] = []
  for (const index of new Set([0, size >> 1, size - 1])) {
    const proof = await proveInclusion(index, size, readHashes)
    lines.push(['inclusion', index, ...proof.map(formatBase64)].join(' '))
  }
  const frontier = createFrontier()
  const olds = new Set([1, size >> 2, size >> 1, size - 1, size].filter((old) => old > 0))
  for (const [index, entry] of entries.entries()) {
    frontier.append(hashLeaf(entry))
    if (!olds.has(index + 1)) continue
    const proof = await proveConsistency(index + 1, size, readHashes)
    lines.push(
      ['consistency', index + 1, ...[frontier.root(), ...proof].map(formatBase64)].join(' '),
    )
  }
  return `${lines.join('\n')}\n`
}

async function writeLog(name: string, files: ReadonlyMap<string, Uint8Array>): Promise<string> {
  const target = join(folder, name)
  for (const [path, bytes] of files) {
    await mkdir(dirname(join(target, path)), { recursive: true })
    await writeFile(join(target, path), bytes)
  }
  return target
}

async function makeLog(size: number) {
  const entries = entriesOf(size)
  const log = buildStaticLog(entries, LOG_SIGNER)
  const proofs = await proveSome(log, entries)
  log.files.set('proofs', Buffer.from(proofs))
  return { log, proofs }
}

describe('the log in Go', () => {
  it.each([1, 2, 255, 256, 257, 1000, 66_000])(
    'has the same root, tiles and proofs at %i leaves',
    async (size) => {
      const { log, proofs } = await makeLog(size)
      const { stdout } = await run(program, [await writeLog(`log-${size}`, log.files), KEY])
      const lines = stdout.trimEnd().split('\n')
      expect(lines.pop()).toMatch(new RegExp(`^ok ${size} leaves [0-9]+ tiles$`))
      // What Go proves is what we prove, hash for hash.
      expect(lines.map((line) => line.trimEnd())).toEqual(proofs.trimEnd().split('\n'))
    },
  )

  it('opens with signatures that Go does not know', async () => {
    const { log } = await makeLog(300)
    const note = parseNote(log.files.get('checkpoint') ?? '')
    const cosigned = addSignature(note, signText(note.text, EAST_SIGNER, 1_763_766_000))
    log.files.set('checkpoint', Buffer.from(formatNote(cosigned)))
    const { stdout } = await run(program, [await writeLog('cosigned', log.files), KEY])
    expect(stdout).toContain('ok 300 leaves')
  })

  it('is refused by Go where we refuse it', async () => {
    const { log } = await makeLog(300)
    const change = (path: string, at: number) => {
      const bytes = Uint8Array.from(log.files.get(path) ?? [])
      bytes[at] = (bytes[at] ?? 0) ^ 1
      return new Map(log.files).set(path, bytes)
    }
    const stranger = formatNoteKey(testSigner('example.com/log', 'note', 77).key)
    const cases: [string, Map<string, Uint8Array>, string, RegExp][] = [
      ['entry', change('tile/entries/000', 40), KEY, /the entries hash to/],
      ['tile', change('tile/0/001.p/44', 3), KEY, /tile\/0\/001\.p\/44 differs/],
      ['size', change('checkpoint', 'example.com/log\n'.length), KEY, /invalid signature/],
      ['key', log.files, stranger, /no verifiable signatures/],
    ]
    for (const [name, files, key, reason] of cases)
      await expect(run(program, [await writeLog(name, files), key])).rejects.toMatchObject({
        code: 1,
        stderr: expect.stringMatching(reason),
      })
    expect(parseCheckpoint(parseNote(log.files.get('checkpoint') ?? '').text).size).toBe(300)
  })
})
