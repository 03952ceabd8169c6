/**
 * The seal breaks off at every step, in both forms: the step failed, or it failed to say that it was
 * done. Afterwards somebody goes on, and the outcome is as if nothing had happened.
 */
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ArtifactError } from '../../schemas/problems.ts'
import { grantParts } from '../../server/intake/grants.ts'
import { describeUpload } from '../../server/intake/uploads.ts'
import { findStranded } from '../../server/records/upload-endings.ts'
import type { ReadOptions, Store } from '../../server/stores/store.ts'
import { NO_THREAD, openStage, type Stage } from '../support/stage.ts'
import { makeContent } from '../support/upload.ts'

let stage: Stage
beforeAll(async () => {
  stage = await openStage()
})
afterAll(() => stage[Symbol.asyncDispose]())

const LEASE_SECONDS = 30
const content = makeContent(2500, 'recovered', 1000)
let runs = 0
const fresh = () => ({ task: 'recover', run: runs++, name: 'a' })

const outage = () => new ArtifactError('store_unavailable', 'Cannot use store: it is away')

/** A store whose read stops after the first 1500 bytes, until `release` is called or the reader gives up. */
function holdReads(): { store: Store; reached: Promise<void>; release: () => void } {
  const reached = Promise.withResolvers<void>()
  const gate = Promise.withResolvers<void>()
  async function* read(key: string, tag: string, options: ReadOptions = {}) {
    yield* stage.store.read(key, tag, { ...options, start: 0n, end: 1000n })
    // Long enough for progress to be news.
    stage.wait(2)
    yield* stage.store.read(key, tag, { ...options, start: 1000n, end: 1500n })
    reached.resolve()
    const { signal } = options
    const given = signal === undefined ? new Promise(() => undefined) : once(signal, 'abort')
    await Promise.race([gate.promise, given])
    signal?.throwIfAborted()
    yield* stage.store.read(key, tag, { ...options, start: 1500n })
  }
  return {
    store: { ...stage.store, read, digest: NO_THREAD },
    reached: reached.promise,
    release: gate.resolve,
  }
}

type Step = 'complete' | 'read' | 'digest'

/** A store that fails once at a step: before it does anything, in the middle, or after it did it. */
function failOnce(step: Step, when: 'before' | 'after'): Store {
  let isDue = true
  const isTime = (moment: string) => {
    if (!isDue || moment !== when) return false
    isDue = false
    return true
  }
  return {
    ...stage.store,
    async complete(session, parts) {
      if (step === 'complete' && isTime('before')) throw outage()
      const blob = await stage.store.complete(session, parts)
      if (step === 'complete' && isTime('after')) throw outage()
      return blob
    },
    async *read(key, tag, options) {
      if (step === 'read' && isTime('before')) throw outage()
      yield* stage.store.read(key, tag, options)
      if (step === 'read' && isTime('after')) throw outage()
    },
    async digest(key, tag, options) {
      if (step !== 'digest') return undefined
      if (isTime('before')) throw outage()
      const found = await stage.store.digest(key, tag, options)
      if (isTime('after')) throw outage()
      return found
    },
  }
}

describe('a seal under way', () => {
  it('shows the state verifying and how far it is, and ends when it ends', async () => {
    const upload = await stage.openAndSend(fresh(), content)
    const { store, reached, release } = holdReads()
    await using sealer = stage.openSealer({ store, patienceMs: 0 })
    const first = await stage.seal(upload.id, content, sealer)
    expect(first.state).toBe('verifying')
    await reached
    const shown = await describeUpload(stage.intake.sql, await stage.find(upload.id))
    expect(shown).toMatchObject({ state: 'verifying', verifiedBytes: '1500' })
    expect((await stage.seal(upload.id, content, sealer)).state).toBe('verifying')
    await expect(
      stage.seal(upload.id, { ...content, sha256: 'a'.repeat(64) }, sealer),
    ).rejects.toMatchObject({ code: 'upload_conflict' })
    release()
    await using patient = stage.openSealer()
    expect((await stage.seal(upload.id, content, patient)).state).toBe('sealed')
    const states = await stage.database.server`
      select body->>'state' as state, body->>'verifiedBytes' as verified
      from artifact.event where upload_id = ${upload.id} order by id`
    expect(states).toMatchObject([
      { state: 'open' },
      { state: 'verifying', verified: '0' },
      { state: 'verifying', verified: '1500' },
      { state: 'sealed' },
    ])
  })

  it('takes no part, no progress and no abort meanwhile', async () => {
    const upload = await stage.openAndSend(fresh(), content)
    const { store, reached, release } = holdReads()
    await using sealer = stage.openSealer({ store, patienceMs: 0 })
    await stage.seal(upload.id, content, sealer)
    await reached
    await expect(stage.send(upload.id, content)).rejects.toMatchObject({ code: 'upload_ended' })
    release()
  })
})

describe('a seal that breaks off', () => {
  const steps: [Step, 'before' | 'after'][] = [
    ['complete', 'before'],
    ['complete', 'after'],
    ['read', 'before'],
    ['read', 'after'],
    ['digest', 'before'],
    ['digest', 'after'],
  ]

  it.each(steps)(
    'at "%s", %s it was done, is sealed when it is asked again',
    async (step, when) => {
      const target = fresh()
      const upload = await stage.openAndSend(target, content)
      await using sealer = stage.openSealer({ store: failOnce(step, when) })
      await expect(stage.seal(upload.id, content, sealer)).rejects.toMatchObject({
        code: 'store_unavailable',
      })
      expect([(await stage.find(upload.id)).state, await stage.isSealed(target)]).toEqual([
        'verifying',
        false,
      ])
      expect((await stage.seal(upload.id, content, sealer)).state).toBe('sealed')
    },
  )

  it.each(steps)('at "%s", %s it was done, is sealed by the sweep alone', async (step, when) => {
    const upload = await stage.openAndSend(fresh(), content)
    await using sealer = stage.openSealer({ store: failOnce(step, when) })
    await expect(stage.seal(upload.id, content, sealer)).rejects.toThrow('it is away')
    await stage.sweep()
    expect((await stage.find(upload.id)).state).toBe('sealed')
  })

  it('by a server that shuts down is sealed by the next one', async () => {
    const upload = await stage.openAndSend(fresh(), content)
    const { store, reached } = holdReads()
    {
      await using sealer = stage.openSealer({ store, patienceMs: 0 })
      await stage.seal(upload.id, content, sealer)
      await reached
    }
    expect((await stage.find(upload.id)).state).toBe('verifying')
    expect(await stage.isSealed(upload)).toBe(false)
    // The lease was given back: nobody waits for it to run out.
    await stage.sweep()
    expect((await stage.find(upload.id)).state).toBe('sealed')
  })

  it('by a server that hangs is left to it for its lease, then sealed by another, once', async () => {
    const upload = await stage.openAndSend(fresh(), content)
    const { store, reached, release } = holdReads()
    await using hanging = stage.openSealer({ store, patienceMs: 0 })
    await stage.seal(upload.id, content, hanging)
    await reached
    stage.wait(LEASE_SECONDS - 1)
    await stage.sweep()
    expect((await stage.find(upload.id)).state).toBe('verifying')
    stage.wait(2)
    await stage.sweep()
    expect((await stage.find(upload.id)).state).toBe('sealed')
    const before = stage.setbacks.length
    const late = stage.seal(upload.id, content, hanging)
    release()
    expect((await late).state).toBe('sealed')
    await hanging[Symbol.asyncDispose]()
    expect(stage.setbacks.slice(before)).toMatchObject([{ code: 'overloaded' }])
    const [row] = await stage.database.server<[{ count: bigint }]>`
      select count(*) from artifact.event
      where upload_id = ${upload.id} and body->>'state' = 'sealed'`
    expect(row.count).toBe(1n)
  })

  it('does not let a server that lost its lease fail what another has sealed', async () => {
    const upload = await stage.openAndSend(fresh(), content)
    const { store, reached, release } = holdReads()
    const lying: Store = {
      ...store,
      async *read(key, tag, options) {
        yield* store.read(key, tag, options)
        // More than was claimed: this server would fail the upload.
        yield Buffer.from('surplus')
      },
    }
    await using hanging = stage.openSealer({ store: lying, patienceMs: 0 })
    await stage.seal(upload.id, content, hanging)
    await reached
    stage.wait(LEASE_SECONDS + 1)
    await stage.sweep()
    release()
    await hanging[Symbol.asyncDispose]()
    expect(await stage.find(upload.id)).toMatchObject({ state: 'sealed', problem: undefined })
  })

  it('is gone on with from the parts of the claim when more had been granted', async () => {
    const upload = await stage.open(fresh())
    await stage.database.admin`
      update artifact.upload set part_size = 1000 where id = ${upload.id}`
    const cut = makeContent(1000, 'recovered', 1000)
    await grantParts(stage.intake, await stage.find(upload.id), content.parts)
    await stage.send(upload.id, content, cut.parts)
    await using sealer = stage.openSealer({ store: failOnce('complete', 'after') })
    await expect(stage.seal(upload.id, cut, sealer)).rejects.toThrow('it is away')
    await stage.sweep()
    expect((await stage.find(upload.id)).state).toBe('sealed')
  })

  it('comes after those that were tried longer ago, so that none keeps the others from their turn', async () => {
    const store: Store = {
      ...stage.store,
      async complete() {
        throw outage()
      },
    }
    await using sealer = stage.openSealer({ store })
    const uploads = [fresh(), fresh()].map((target) => stage.openAndSend(target, content))
    const [first, second] = await Promise.all(uploads)
    for (const upload of [first, second]) {
      await expect(stage.seal(upload?.id ?? '', content, sealer)).rejects.toThrow('it is away')
      stage.wait(1)
    }
    const findNext = async () => {
      const [next] = await findStranded(stage.intake.sql, stage.intake.clock(), 1)
      return next
    }
    const tried = await findNext()
    expect(tried?.id).toBe(first?.id)
    if (tried !== undefined) await sealer.recover(tried)
    expect((await findNext())?.id).toBe(second?.id)
    await stage.sweep()
    expect(await findNext()).toBeUndefined()
  })
})
