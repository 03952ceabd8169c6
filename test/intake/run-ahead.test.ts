/** Who may write some names of a task cannot take its runs away from the others. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { RUN_MAX } from '../../schemas/primitives.ts'
import { RUNS_AHEAD_MAX } from '../../server/intake/run-ahead.ts'
import { codesOf, makeSmall, sendBatch } from '../support/batch.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { wordsFor } from '../support/upload.ts'

let server: TestServer
beforeAll(async () => {
  server = await startTestServer()
})
afterAll(() => server[Symbol.asyncDispose]())

/** What both doors answer to an upload into the run. */
async function tryRun(task: string, run: number, token: string): Promise<(string | number)[]> {
  const words = wordsFor({ task, run, name: `own/${randomUUID()}` })
  const { status } = await server.request('POST', '/v1/uploads', { body: words, token })
  const small = makeSmall({ task, run, name: `own/${randomUUID()}` }, 'x')
  return [status, ...codesOf(await sendBatch(server, [small], token))]
}

const allot = async (task: string) => {
  const body = { requestId: randomUUID() }
  return (await server.request('POST', `/v1/tasks/${task}/runs`, { body })).body
}

describe('a token for some names of a task', () => {
  it('opens no run that is far ahead, and leaves the others theirs', async () => {
    const token = await server.createToken(['upload:shared/own/**', 'upload:other/**'])
    for (const run of [RUN_MAX, RUNS_AHEAD_MAX])
      expect(await tryRun('shared', run, token)).toEqual([403, 'forbidden'])
    expect((await server.request('GET', '/v1/tasks/shared/runs')).status).toBe(404)
    expect(await allot('shared')).toMatchObject({ run: 0 })
    const body = wordsFor({ task: 'shared', run: RUN_MAX, name: 'own/a' })
    expect((await server.request('POST', '/v1/uploads', { body, token })).body).toMatchObject({
      detail: expect.stringContaining(`Cannot open run ${RUN_MAX} of shared`),
      expected: `run ${RUNS_AHEAD_MAX} at most, or upload:shared/**`,
    })
  })

  it('refuses alone what is far ahead in a batch', async () => {
    const token = await server.createToken(['upload:mixed/own/*'])
    const batch = [3, RUN_MAX, 4].map((run) =>
      makeSmall({ task: 'mixed', run, name: 'own/a' }, String(run)),
    )
    const codes = codesOf(await sendBatch(server, batch, token))
    expect(codes).toEqual(['sealed', 'forbidden', 'sealed'])
  })

  it('may name what is near, and whatever is there already', async () => {
    const token = await server.createToken(['upload:near/own/*'])
    expect(await tryRun('near', RUNS_AHEAD_MAX - 1, token)).toEqual([201, 'sealed'])
    expect(await tryRun('near', 2 * RUNS_AHEAD_MAX - 1, token)).toEqual([201, 'sealed'])
    const whole = await server.createToken(['upload:n*/**'])
    expect(await tryRun('near', 20_261_122, whole)).toEqual([201, 'sealed'])
    expect(await tryRun('near', 20_261_122, token)).toEqual([201, 'sealed'])
    expect(await tryRun('near', 20_261_122 + RUNS_AHEAD_MAX + 1, token)).toEqual([403, 'forbidden'])
  })
})
