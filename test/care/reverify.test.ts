/** What was sealed is looked at again: good, tampered, missing, removed, out of reach. */
import { once } from 'node:events'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createReverifier, type ReverifyStep } from '../../server/care/reverify.ts'
import { makeStatement } from '../../server/log/statements.ts'
import { findArtifact } from '../../server/records/artifacts.ts'
import { listFaults, listVerifications } from '../../server/records/verification.ts'
import type { Store } from '../../server/stores/store.ts'
import { openStage, type Stage } from '../support/stage.ts'
import { describeContent, makeContent } from '../support/upload.ts'

const DAY_SECONDS = 86_400
const SERVER = '00000000-0000-4000-8000-0000000000aa'
const content = makeContent(2500, 'looked at', 1000)
const settings = { days: 30, bytesPerSecond: 1_000_000_000, idleSeconds: 60 }

let stage: Stage
let count = 0
beforeAll(async () => {
  stage = await openStage()
})
afterAll(() => stage[Symbol.asyncDispose]())

/** Seals one more artifact and returns its name and where its bytes lie. */
async function sealOne() {
  count += 1
  const target = { task: 'care', run: 0, name: `a${count}` }
  const upload = await stage.openAndSend(target, content)
  await stage.seal(upload.id, content)
  return { ...target, key: upload.blobKey }
}

/** One turn of a server of its own. */
async function step(store: Pick<Store, 'read' | 'stat'> = stage.store): Promise<ReverifyStep> {
  const { sql, clock } = stage.intake
  await using reverifier = createReverifier({ sql, store, clock, server: SERVER }, settings)
  return await reverifier.step()
}

/** Turns until nothing is due. */
async function drain(): Promise<ReverifyStep[]> {
  const steps: ReverifyStep[] = []
  for (;;) {
    const next = await step()
    if (next.kind === 'idle') return steps
    steps.push(next)
  }
}

const historyOf = (target: { task: string; run: number; name: string }) =>
  listVerifications(stage.intake.sql, target, { before: undefined, limit: 10 })

beforeEach(async () => {
  stage.wait(30 * DAY_SECONDS)
  await drain()
})

describe('createReverifier()', () => {
  it('leaves alone what was sealed within its time, and reads it when that is over', async () => {
    const sealed = await sealOne()
    stage.wait(30 * DAY_SECONDS - 1)
    expect(await historyOf(sealed)).toEqual([])
    // What was there before is due again by now; this one is not.
    for (const seen of await drain())
      expect(seen).not.toMatchObject({ turn: { name: sealed.name } })
    stage.wait(1)
    expect(await step()).toMatchObject({ kind: 'seen', turn: { name: sealed.name } })
    expect(await historyOf(sealed)).toMatchObject([
      { outcome: 'agreed', bytes: '2500', server: SERVER, at: stage.intake.clock().toISOString() },
    ])
    expect(await step()).toEqual({ kind: 'idle' })
  })

  it('takes what was not looked at for the longest time, whether sealed or looked at then', async () => {
    const first = await sealOne()
    stage.wait(10 * DAY_SECONDS)
    const second = await sealOne()
    const order = async (days: number) => {
      stage.wait(days * DAY_SECONDS)
      return (await drain()).flatMap((seen) =>
        'turn' in seen && [first.name, second.name].includes(seen.turn.name) ? seen.turn.name : [],
      )
    }
    expect(await order(20)).toEqual([first.name])
    expect(await order(10)).toEqual([second.name])
    expect(await order(30)).toEqual([first.name, second.name])
    expect(await order(29)).toEqual([])
  })

  it('records which byte-for-byte difference it found, and that it is gone when it is', async () => {
    const sealed = await sealOne()
    await stage.tamper(sealed.key, (bytes) => bytes.with(1500, (bytes[1500] ?? 0) ^ 1) as Buffer)
    stage.wait(30 * DAY_SECONDS)
    await drain()
    const tampered = Buffer.from(content.bytes)
    tampered[1500] = (tampered[1500] ?? 0) ^ 1
    expect(await historyOf(sealed)).toMatchObject([
      {
        outcome: 'mismatch',
        code: 'part_mismatch',
        expected: content.parts[1]?.sha256,
        found: describeContent(tampered, 1000).parts[1]?.sha256,
      },
    ])
    const faults = () => listFaults(stage.intake.sql, 10)
    expect(await faults()).toMatchObject([{ name: sealed.name, last: { outcome: 'mismatch' } }])
    await stage.tamper(sealed.key, () => content.bytes)
    stage.wait(30 * DAY_SECONDS)
    await drain()
    expect(await historyOf(sealed)).toMatchObject([{ outcome: 'agreed' }, { outcome: 'mismatch' }])
    expect(await faults()).toEqual([])
  })

  it('records no fault of the wire: what a second reading shows to be right agrees', async () => {
    const sealed = await sealOne()
    stage.wait(30 * DAY_SECONDS)
    let readings = 0
    const wire: Pick<Store, 'read' | 'stat'> = {
      stat: stage.store.stat,
      async *read(key, tag, options) {
        const isFirst = key === sealed.key && ++readings === 1
        for await (const chunk of stage.store.read(key, tag, options))
          yield isFirst ? chunk.map((byte) => byte ^ 1) : chunk
      },
    }
    const misreads: unknown[] = []
    const { sql, clock } = stage.intake
    await using reverifier = createReverifier(
      {
        sql,
        store: wire,
        clock,
        server: SERVER,
        onMisread: ({ name }, { code, expected }) => misreads.push({ name, code, expected }),
      },
      settings,
    )
    while ((await reverifier.step()).kind === 'seen');
    expect(readings).toBe(2)
    expect(await historyOf(sealed)).toMatchObject([{ outcome: 'agreed', bytes: '2500' }])
    const { name } = sealed
    expect(misreads).toEqual([{ name, code: 'digest_mismatch', expected: content.sha256 }])
  })

  it('finds bytes that were cut off or added, and says how many there are', async () => {
    const cut = await sealOne()
    const longer = await sealOne()
    await stage.tamper(cut.key, (bytes) => bytes.subarray(0, 2000))
    await stage.tamper(longer.key, (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]))
    stage.wait(30 * DAY_SECONDS)
    await drain()
    const code = 'size_mismatch'
    expect(await historyOf(cut)).toMatchObject([
      { code, expected: '2500 bytes', found: '2000 bytes' },
    ])
    expect(await historyOf(longer)).toMatchObject([{ outcome: 'mismatch', code }])
    for (const { key } of [cut, longer]) await stage.tamper(key, () => content.bytes)
  })

  it('finds that an object is gone', async () => {
    const sealed = await sealOne()
    await rm(join(stage.folder, sealed.key))
    stage.wait(30 * DAY_SECONDS)
    await drain()
    expect(await historyOf(sealed)).toMatchObject([{ outcome: 'missing', code: 'blob_missing' }])
    await writeFile(join(stage.folder, sealed.key), content.bytes)
  })

  it('leaves out what was removed, for good', async () => {
    const sealed = await sealOne()
    const stored = await findArtifact(stage.intake.sql, sealed.task, sealed.run, sealed.name)
    if (stored === undefined) throw new Error('It was sealed')
    await makeStatement(
      stage.intake,
      stored,
      { kind: 'remove', reason: 'its time is over' },
      'server',
    )
    stage.wait(30 * DAY_SECONDS)
    const steps = await drain()
    expect(steps).toContainEqual(
      expect.objectContaining({
        kind: 'removed',
        turn: expect.objectContaining({ name: sealed.name }),
      }),
    )
    stage.wait(300 * DAY_SECONDS)
    const later = await drain()
    expect(later.some((seen) => 'turn' in seen && seen.turn.name === sealed.name)).toBe(false)
    expect(await historyOf(sealed)).toEqual([])
  })

  it('takes trouble of the store for no verdict, goes on with the next, and comes back', async () => {
    const stuck = await sealOne()
    const fine = await sealOne()
    const folder = join(stage.folder, stuck.key)
    await rename(folder, `${folder}.aside`)
    // A folder in its place: reading it fails, as a sick disk does.
    await mkdir(folder)
    stage.wait(30 * DAY_SECONDS)
    const { sql, clock } = stage.intake
    await using reverifier = createReverifier(
      { sql, store: stage.store, clock, server: SERVER },
      settings,
    )
    const seen: ReverifyStep[] = []
    for (;;) {
      const next = await reverifier.step()
      if (next.kind === 'idle') break
      seen.push(next)
    }
    expect(seen.find((one) => 'turn' in one && one.turn.name === stuck.name)?.kind).toBe('setback')
    expect(seen.find((one) => 'turn' in one && one.turn.name === fine.name)?.kind).toBe('seen')
    expect(await historyOf(stuck)).toEqual([])
    await rm(folder, { recursive: true })
    await rename(`${folder}.aside`, folder)
    stage.wait(3600)
    expect(await reverifier.step()).toMatchObject({ kind: 'seen', turn: { name: stuck.name } })
    expect(await historyOf(stuck)).toMatchObject([{ outcome: 'agreed' }])
  })

  it('lets one of several servers read, and another one when that one stops', async () => {
    const sealed = await sealOne()
    stage.wait(30 * DAY_SECONDS)
    const reached = Promise.withResolvers<void>()
    const { sql, clock } = stage.intake
    const slow: Pick<Store, 'read' | 'stat'> = {
      stat: stage.store.stat,
      async *read(key, tag, options) {
        reached.resolve()
        if (options?.signal !== undefined) await once(options.signal, 'abort')
        yield* stage.store.read(key, tag, options)
      },
    }
    const first = createReverifier({ sql, store: slow, clock, server: SERVER }, settings)
    const reading = first.step()
    await reached.promise
    expect(await step()).toEqual({ kind: 'busy' })
    const stopping = first[Symbol.asyncDispose]()
    await expect(reading).rejects.toThrow()
    await stopping
    expect(await historyOf(sealed)).toEqual([])
    await drain()
    expect(await historyOf(sealed)).toMatchObject([{ outcome: 'agreed' }])
  })

  it('reads no faster than it may', async () => {
    const sealed = await sealOne()
    stage.wait(30 * DAY_SECONDS)
    const { sql, clock, store } = stage.intake
    const pauses: number[] = []
    const pause = async (ms: number) => pauses.push(ms)
    await using slow = createReverifier(
      { sql, store, clock, server: SERVER, pause },
      { ...settings, bytesPerSecond: 1 },
    )
    let next = await slow.step()
    while (next.kind === 'seen' && next.turn.name !== sealed.name) next = await slow.step()
    expect(next).toMatchObject({ kind: 'seen', seen: { outcome: 'agreed' } })
    // The last chunk is due 2,500 seconds after the first byte, less what has passed of them.
    expect(pauses.at(-1)).toBeGreaterThan(2_000_000)
    expect(pauses.at(-1)).toBeLessThanOrEqual(2_500_000)
  })
})
