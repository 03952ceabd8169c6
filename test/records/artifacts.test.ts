import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  findArtifact,
  findParts,
  insertArtifacts,
  listArtifacts,
  type NewArtifact,
} from '../../server/records/artifacts.ts'
import { allotRun } from '../../server/records/tasks.ts'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
  for (const task of ['sizes', 'names', 'names'])
    await allotRun(database.server, task, randomUUID())
})
afterAll(() => database[Symbol.asyncDispose]())

const digest = (number: number) => number.toString(16).padStart(64, '0')

function makeArtifact(changes: Partial<NewArtifact>): NewArtifact {
  const id = randomUUID()
  return {
    ...{
      task: 'sizes',
      run: 0,
      name: id,
      sha256: digest(1),
      sizeBytes: 1n,
      partSizeBytes: 8_388_608,
    },
    parts: [{ number: 1, sizeBytes: 1, sha256: digest(1) }],
    ...{ contentType: 'text/plain', labels: {}, policy: 'reread', store: 'filesystem' },
    ...{ blobKey: `blobs/${id}`, blobTag: '"t"', uploadId: id, openedAt: new Date(0) },
    ...{ tokenId: id, tokenName: 'worker' },
    ...changes,
  }
}

/** Whether its name was free. */
async function insertOne(artifact: NewArtifact): Promise<boolean> {
  const inserted = await insertArtifacts(database.server, [artifact], new Date(0))
  return inserted.has(artifact.uploadId)
}

describe('insertArtifacts()', () => {
  test.each([
    [2n ** 53n + 1n, 2 ** 42, '9007199254740993', 2049, 1],
    [2n ** 63n - 1n, 2 ** 50, '9223372036854775807', 8192, 2 ** 50 - 1],
  ])('keeps every digit of %s bytes', async (sizeBytes, partSizeBytes, text, count, last) => {
    const sizeOf = (number: number) => (number === count ? last : partSizeBytes)
    const parts = Array.from({ length: count }, (_, index) => ({
      number: index + 1,
      sizeBytes: sizeOf(index + 1),
      sha256: digest(index + 1),
    }))
    const artifact = makeArtifact({ sizeBytes, partSizeBytes, parts })
    expect(await insertOne(artifact)).toBe(true)
    const found = await findArtifact(database.server, 'sizes', 0, artifact.name)
    expect(found?.artifact).toMatchObject({ sizeBytes: text, partSizeBytes, partCount: count })
    const page = { prefix: artifact.name, after: '', limit: 1 }
    expect(await listArtifacts(database.server, 'sizes', 0, page)).toEqual([found?.artifact])
    expect(await findParts(database.server, artifact)).toEqual(parts)
  })

  test('changes nothing when the name is taken, whatever the content is', async () => {
    const artifact = makeArtifact({})
    expect(await insertOne(artifact)).toBe(true)
    const before = await findArtifact(database.server, 'sizes', 0, artifact.name)
    const rival = makeArtifact({
      name: artifact.name,
      sha256: digest(2),
      parts: [{ number: 1, sizeBytes: 1, sha256: digest(2) }],
    })
    expect(await insertOne(rival)).toBe(false)
    expect(await findArtifact(database.server, 'sizes', 0, artifact.name)).toEqual(before)
  })
})

describe('listArtifacts()', () => {
  /** Around everything that sorts in its own way: case, the surrogates, the last code point. */
  const letters = [
    'a',
    'B',
    'b',
    '/',
    '0',
    '~',
    'é',
    'z\u0301',
    '\ud7ff',
    '\ue000',
    '\uffff',
    '😀',
    '\u{10ffff}',
    '%',
    '_',
  ]
  const text = (maxLength: number) =>
    fc.array(fc.constantFrom(...letters), { maxLength }).map((parts) => parts.join(''))
  const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

  test('gives the names after a name with a prefix, by their bytes', async () => {
    const names = [...new Set(fc.sample(text(4), { numRuns: 400, seed: 7 }))].filter(
      (name) => name !== '',
    )
    for (const run of [0, 1])
      for (const name of names) await insertOne(makeArtifact({ task: 'names', run, name }))
    await fc.assert(
      fc.asyncProperty(
        text(2),
        text(3),
        fc.integer({ min: 1, max: 40 }),
        async (prefix, after, limit) => {
          const expected = names
            .filter((name) => name.startsWith(prefix) && byBytes(name, after) > 0)
            .sort(byBytes)
            .slice(0, limit)
          const found = await listArtifacts(database.server, 'names', 0, { prefix, after, limit })
          expect(found.map((artifact) => artifact.name)).toEqual(expected)
          expect(found.every((artifact) => artifact.run === 0)).toBe(true)
        },
      ),
      { numRuns: 300 },
    )
  })
})
