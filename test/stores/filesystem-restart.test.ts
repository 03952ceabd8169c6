/** What the filesystem store still knows when a server starts again, after a crash too. */
import { chmod, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  begin,
  flipBit,
  grantAll,
  makeSample,
  pieceOf,
  readAll,
  send,
  sendParts,
  storeSample,
} from '../contract/subject.ts'
import { type FilesystemSubject, incomingOf, openFilesystemSubject } from './filesystem-subject.ts'

let subject: FilesystemSubject
beforeAll(async () => {
  subject = await openFilesystemSubject()
})
afterAll(async () => {
  await subject?.[Symbol.asyncDispose]()
})

describe('a restart', () => {
  /** Does `before` with one server and `after` with the next one on the same folder. */
  async function restart<T>(
    before: (subject: FilesystemSubject) => Promise<T>,
    after: (subject: FilesystemSubject, kept: T) => Promise<void>,
  ): Promise<void> {
    const folder = await mkdtemp(join(tmpdir(), 'artifact-store-'))
    try {
      let kept: T
      {
        await using first = await openFilesystemSubject(folder)
        kept = await before(first)
      }
      await using second = await openFilesystemSubject(folder)
      await after(second, kept)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }

  it('keeps sessions, held parts and grants', async () => {
    const sample = makeSample(subject, 100)
    await restart(
      async (first) => {
        const session = await begin(first, sample)
        const grants = await grantAll(first, session, sample)
        await sendParts(first, session, sample, [1, 3])
        return { session, grants }
      },
      async (second, { session, grants }) => {
        expect((await second.store.listParts(session)).map(({ number }) => number)).toEqual([1, 3])
        const [one, two] = grants
        if (one === undefined || two === undefined) throw new Error('too few')
        expect((await send(second, two, pieceOf(sample, 2))).status).toBe(200)
        expect((await send(second, one, flipBit(pieceOf(sample, 1)))).status).toBe(422)
        const blob = await second.store.complete(session, sample.parts)
        const found = await readAll(second.store.read(session.key, blob.tag))
        expect(found.equals(sample.bytes)).toBe(true)
      },
    )
  })

  it('forgets a part whose journal record is torn, at any byte, and no other', async () => {
    const sample = makeSample(subject, 101)
    const session = await begin(subject, sample)
    await sendParts(subject, session, sample)
    const journal = await readFile(`${incomingOf(subject, session.key)}.parts`)
    const third = journal.lastIndexOf(`\n3 `)
    await restart(
      async (first) => {
        const session = await begin(first, sample)
        await sendParts(first, session, sample)
        return session
      },
      async (second, session) => {
        const path = `${incomingOf(second, session.key)}.parts`
        await truncate(path, third + 20)
        expect((await second.store.listParts(session)).map(({ number }) => number)).toEqual([1, 2])
        await sendParts(second, session, sample, [3])
        await second.store.complete(session, sample.parts)
        const blob = await second.store.stat(session.key)
        const found = await readAll(second.store.read(session.key, blob?.tag ?? ''))
        expect(found.equals(sample.bytes)).toBe(true)
      },
    )
  })

  it('completes again after a crash between the move and what follows it', async () => {
    const sample = makeSample(subject, 102)
    await restart(
      async (first) => {
        const { session, blob } = await storeSample(first, sample)
        // What such a crash leaves: the blob still writable, the journal still there.
        await chmod(join(first.folder, session.key), 0o600)
        await writeFile(`${incomingOf(first, session.key)}.parts`, '\n1 100000 torn')
        return { session, blob }
      },
      async (second, { session, blob }) => {
        expect(await second.store.complete(session, sample.parts)).toEqual(blob)
        expect((await stat(join(second.folder, session.key))).mode & 0o777).toBe(0o444)
        expect(
          await readdir(join(second.folder, 'incoming', 'blobs', session.key.slice(6, 8))),
        ).toEqual([])
      },
    )
  })
})
