/** A real server process ends in the middle of a seal; the next one goes on without the client. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createToken } from '../../server/access/tokens.ts'
import { systemClock } from '../../server/clock.ts'
import { createTestDatabase } from '../support/database.ts'
import { holdRecords, isInserting } from '../support/hold-records.ts'
import type { TestDatabase } from '../support/postgres-cluster.ts'
import { send } from '../support/server.ts'
import {
  addressOf,
  claimOf,
  makeContent,
  openAndSend,
  openTestUpload,
  seal,
  sendParts,
} from '../support/upload.ts'

const MAIN = join(import.meta.dirname, '../../server/main.ts')
const content = makeContent(200_000, 'crash')

let database: TestDatabase
let dataFolder: string
let token: string
beforeAll(async () => {
  database = await createTestDatabase()
  dataFolder = await mkdtemp(join(tmpdir(), 'artifact-crash-'))
  const request = { name: 'crash', scopes: ['admin'], ttlSeconds: null }
  token = (await createToken(database.server, request, systemClock)).secret
})
afterAll(async () => {
  await database[Symbol.asyncDispose]()
  await rm(dataFolder, { recursive: true, force: true })
})

interface ServerProcess extends AsyncDisposable {
  child: ChildProcess
  url: string
  request: (method: string, path: string, options?: { body?: unknown }) => ReturnType<typeof send>
  end: (signal: 'SIGKILL' | 'SIGTERM') => Promise<number | null>
}

/** Starts `artifact serve` on the test's database and folder; resolves when it says that it serves. */
async function serve(): Promise<ServerProcess> {
  const args = [MAIN, 'serve', '--data-dir', dataFolder, '--port', '0', '--no-profile']
  const child = spawn(process.execPath, [...args, '--sweep-seconds', '1'], {
    env: {
      PATH: process.env.PATH,
      ARTIFACT_DATABASE_URL: database.serverUrl,
      ARTIFACT_PART_SIZE_BYTES: '65536',
      ARTIFACT_SHUTDOWN_SECONDS: '1',
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ended = once(child, 'close')
  const url = await readUrl(child)
  const end = async (signal: 'SIGKILL' | 'SIGTERM') => {
    child.kill(signal)
    await ended
    return child.exitCode
  }
  return {
    child,
    url,
    request: (method, path, { body } = {}) =>
      send(url, method, path, {
        body,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      }),
    end,
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) await end('SIGKILL')
    },
  }
}

async function readUrl(child: ChildProcess): Promise<string> {
  let said = ''
  for await (const chunk of child.stderr ?? []) {
    said += String(chunk)
    const url = / serves (http:\S+)/.exec(said)?.[1]
    if (url !== undefined) {
      child.stderr?.resume()
      return url
    }
  }
  throw new Error(`The server ended before it served:\n${said}`)
}

const stateOf = async (id: string) => {
  const [row] = await database.server<[{ state: string }]>`
    select state from artifact.upload where id = ${id}`
  return row.state
}
const patience = { timeout: 30_000, interval: 50 }

describe('artifact serve', () => {
  it('ended by kill -9 while it verifies leaves an upload that the next one seals', async () => {
    const target = { task: 'crash', run: 0, name: 'killed.bin' }
    let id = ''
    {
      await using server = await serve()
      ;({ id } = await openAndSend(server, target, content))
      await using _ = await holdRecords(database.admin)
      const lost = server
        .request('POST', `/v1/uploads/${id}/seal`, { body: claimOf(content) })
        .catch(() => undefined)
      await expect.poll(() => isInserting(database.admin), patience).toBe(true)
      await server.end('SIGKILL')
      await lost
    }
    expect(await stateOf(id)).toBe('verifying')
    // The lease of the dead runs out.
    await database.admin`
      update artifact.upload set lease_until = now() - interval '1 second' where id = ${id}`
    await using server = await serve()
    await expect.poll(() => stateOf(id), patience).toBe('sealed')
    const record = await server.request('GET', addressOf(target))
    expect(record).toMatchObject({ status: 200, body: { sha256: content.sha256 } })
    expect(await server.end('SIGTERM')).toBe(0)
  })

  it('told to stop while it verifies ends with 0, and nothing is half sealed', async () => {
    const target = { task: 'crash', run: 1, name: 'stopped.bin' }
    let id = ''
    {
      await using server = await serve()
      ;({ id } = await openAndSend(server, target, content))
      let ended: Promise<number | null>
      {
        await using _ = await holdRecords(database.admin)
        void server
          .request('POST', `/v1/uploads/${id}/seal`, { body: claimOf(content) })
          .catch(() => undefined)
        await expect.poll(() => isInserting(database.admin), patience).toBe(true)
        ended = server.end('SIGTERM')
      }
      expect(await ended).toBe(0)
    }
    const [row] = await database.server<[{ count: bigint }]>`
      select count(*) from artifact.artifact where upload_id = ${id}`
    expect(await stateOf(id)).toBe(row.count === 1n ? 'sealed' : 'verifying')
    await using _ = await serve()
    await expect.poll(() => stateOf(id), patience).toBe('sealed')
  })

  it('keeps the parts of an upload across kill -9, and takes the rest afterwards', async () => {
    const target = { task: 'crash', run: 2, name: 'resumed.bin' }
    let id = ''
    {
      await using server = await serve()
      ;({ id } = await openTestUpload(server, target, { sizeBytes: content.sizeBytes }))
      await sendParts(server, id, content, content.parts.slice(0, 2))
      await server.end('SIGKILL')
    }
    await using server = await serve()
    const { body } = await server.request('GET', `/v1/uploads/${id}`)
    expect(body).toMatchObject({ upload: { state: 'open' }, parts: content.parts.slice(0, 2) })
    await sendParts(server, id, content, content.parts.slice(2))
    expect((await seal(server, id, claimOf(content))).status).toBe(200)
  })
})
