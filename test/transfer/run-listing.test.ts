/** The records of a run, page by page: all of them once, in order, whatever is kept of them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect } from '../../client/client.ts'
import type { Connection } from '../../client/transfer/connection.ts'
import { openListing } from '../../client/transfer/run-listing.ts'
import { makeSmall, sendBatch } from '../support/batch.ts'
import { startTestServer, type TestServer } from '../support/server.ts'

const NAMES = Array.from({ length: 7 }, (_, index) => `f${index}`)
const WANTED = { task: 'listed', run: 'latest', prefix: undefined } as const
const rethrow = (error: unknown) => {
  throw error
}
const { signal } = new AbortController()

let server: TestServer
let connection: Connection
beforeAll(async () => {
  server = await startTestServer()
  connection = connect({ url: server.url, token: server.token })
  await sendBatch(
    server,
    NAMES.map((name) => makeSmall({ task: 'listed', name }, name)),
  )
})
afterAll(async () => {
  await connection[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

describe('openListing()', () => {
  it.each([0, 1, 2, 5, 6, 7, 100])('tells every record once when it keeps %i', async (kept) => {
    const listing = await openListing(connection, WANTED, signal, { page: 2, kept })
    expect(listing).toMatchObject({ run: 0, count: 7, sizeBytes: 14n })
    const names: string[] = []
    for await (const page of listing.groups(rethrow)) names.push(...page.map(({ name }) => name))
    expect(names).toEqual(NAMES)
  })

  it('stays with the run that it counted, though a later one is sealed meanwhile', async () => {
    const wanted = { ...WANTED, task: 'moving' }
    await sendBatch(
      server,
      NAMES.map((name) => makeSmall({ task: 'moving', name }, name)),
    )
    const listing = await openListing(connection, wanted, signal, { page: 2, kept: 3 })
    await sendBatch(server, [makeSmall({ task: 'moving', run: 1, name: 'f9' }, 'later')])
    const runs: number[] = []
    for await (const page of listing.groups(rethrow)) runs.push(...page.map(({ run }) => run))
    expect(runs).toEqual(NAMES.map(() => 0))
  })

  it('finds nothing where nothing is', async () => {
    const wanted = { ...WANTED, prefix: 'other' }
    const listing = await openListing(connection, wanted, signal)
    expect(listing).toMatchObject({ run: undefined, count: 0 })
    for await (const page of listing.groups(rethrow)) expect(page).toEqual([])
  })
})
