import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { OpenUpload } from '../../schemas/upload.ts'
import {
  findUpload,
  findVacancy,
  insertUpload,
  type NewUpload,
} from '../../server/records/uploads.ts'
import { createTestDatabase } from '../support/database.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { makeContent, wordsFor } from '../support/upload.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database[Symbol.asyncDispose]())

const content = makeContent(150_000)
const openedAt = new Date('2026-11-21T20:00:00.123Z')

function makeUpload(words: object, changes: Partial<NewUpload> = {}): NewUpload {
  const target = { task: 'rows', run: 7, name: randomUUID() }
  const request = { ...OpenUpload.parse(wordsFor(target, words)), run: target.run }
  const expiresAt = new Date(openedAt.getTime() + 3_600_000)
  return {
    ...{ request, partSizeBytes: 65_536, policy: 'reread', blobKey: `blobs/${request.id}` },
    ...{ tokenId: randomUUID(), tokenName: 'worker', openedAt, expiresAt, storeSession: undefined },
    ...changes,
  }
}

describe('insertUpload()', () => {
  it.each([
    ['nothing but its name', {}, {}],
    [
      'all that can be said',
      {
        ...{ sizeBytes: content.sizeBytes, sha256: content.sha256, parts: content.parts },
        ...{ contentType: 'text/plain', labels: { b: '2', a: '1' } },
      },
      { storeSession: 'begun', policy: 'parts' } as const,
    ],
  ])('says what its row has, given %s', async (_, words, changes) => {
    const upload = makeUpload(words, changes)
    const record = await insertUpload(database.server, upload)
    expect(record).toBeDefined()
    expect(record).toEqual(await findUpload(database.server, upload.request.id))
  })

  it('binds no part and tells nothing when its id is taken', async () => {
    const upload = makeUpload({ sizeBytes: content.sizeBytes })
    await insertUpload(database.server, upload)
    const { id } = upload.request
    const other = makeUpload({ id, sizeBytes: content.sizeBytes, parts: content.parts })
    expect(await insertUpload(database.server, other)).toBeUndefined()
    const [row] = await database.server<[{ parts: bigint; events: bigint }]>`
      select (select count(*) from artifact.upload_part where upload_id = ${id}) as parts,
        (select count(*) from artifact.event where upload_id = ${id}) as events`
    expect(row).toEqual({ parts: 0n, events: 1n })
  })
})

describe('findVacancy()', () => {
  it('counts what the token keeps open, and knows an id that is taken', async () => {
    const tokenId = randomUUID()
    const uploads = [makeUpload({}, { tokenId }), makeUpload({}, { tokenId })]
    const look = (id: string) =>
      findVacancy(database.server, { id, blobKey: `blobs/${id}`, tokenId })
    for (const upload of uploads) await insertUpload(database.server, upload)
    const taken = { isOpened: true, isSealed: false, openCount: 2 }
    expect(await look(uploads[0]?.request.id ?? '')).toEqual(taken)
    expect(await look(randomUUID())).toEqual({ ...taken, isOpened: false })
  })
})
