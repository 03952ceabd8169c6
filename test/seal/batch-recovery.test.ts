/** A batch breaks off at every step; whoever goes on, the outcome is as if nothing had happened. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { SmallArtifact } from '../../schemas/batch.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Principal } from '../../server/access/scopes.ts'
import { sealBatch } from '../../server/seal/batch.ts'
import type { Sealer } from '../../server/seal/seal.ts'
import type { Store } from '../../server/stores/store.ts'
import { codesOf, countRecords, makeSmall } from '../support/batch.ts'
import { openStage, type Stage } from '../support/stage.ts'

let stage: Stage
beforeAll(async () => {
  stage = await openStage()
})
afterAll(() => stage[Symbol.asyncDispose]())

const LEASE_SECONDS = 30
const principal: Principal = {
  token: { id: '5a3f6c1e-7a55-4ad2-9c3d-0123456789ab', name: 'stage' },
  scopes: ['admin'],
}
const seal = async (sealer: Sealer, batch: SmallArtifact[]) =>
  codesOf((await sealBatch(stage.intake, sealer, principal, { artifacts: batch })).outcomes)
const makeBatch = (task: string) =>
  ['a', 'b', 'c'].map((name) => makeSmall({ task, name }, `${task} ${name}`))
const keyOf = ({ id }: SmallArtifact) => `blobs/${id.slice(-2)}/${id}`
const states = (batch: SmallArtifact[]) =>
  Promise.all(batch.map(async ({ id }) => (await stage.find(id)).state))

/** A store whose `put` fails once for each key: before it stored anything, or after. */
function failPuts(when: 'before' | 'after'): Store {
  const seen = new Set<string>()
  return {
    ...stage.store,
    async put(plan, bytes) {
      const isDue = !seen.has(plan.key)
      seen.add(plan.key)
      const outage = new ArtifactError('store_unavailable', 'Cannot use store: it is away')
      if (isDue && when === 'before') throw outage
      const blob = await stage.store.put(plan, bytes)
      if (isDue) throw outage
      return blob
    },
  }
}

/** A store that takes the bytes and never says so, like a server that dies at that moment. */
function hangAfterPut(): { store: Store; reached: Promise<void>; release: () => void } {
  const reached = Promise.withResolvers<void>()
  const gate = Promise.withResolvers<void>()
  let count = 0
  const store: Store = {
    ...stage.store,
    async put(plan, bytes) {
      const blob = await stage.store.put(plan, bytes)
      count++
      if (count === 3) reached.resolve()
      await gate.promise
      return blob
    },
  }
  return { store, reached: reached.promise, release: gate.resolve }
}

const ONE_EACH = { artifacts: 3, leaves: 3, uploads: 3, events: 3 }

describe('a batch that breaks off', () => {
  it.each(['before', 'after'] as const)(
    '%s its bytes are stored is sealed when it is repeated',
    async (when) => {
      const batch = makeBatch(`repeat-${when}`)
      await using sealer = stage.openSealer({ store: failPuts(when) })
      expect(await seal(sealer, batch)).toEqual(Array(3).fill('store_unavailable'))
      expect(await states(batch)).toEqual(Array(3).fill('verifying'))
      expect(await seal(sealer, batch)).toEqual(Array(3).fill('sealed'))
      expect(await countRecords(stage.database.server, `repeat-${when}`)).toEqual(ONE_EACH)
    },
  )

  it('between the bytes and the seal is sealed by the sweep', async () => {
    const batch = makeBatch('crash')
    const { store, reached, release } = hangAfterPut()
    await using dying = stage.openSealer({ store })
    const lost = seal(dying, batch)
    await reached
    stage.wait(LEASE_SECONDS - 1)
    await stage.sweep()
    expect(await states(batch)).toEqual(Array(3).fill('verifying'))
    stage.wait(2)
    await stage.sweep()
    expect(await states(batch)).toEqual(Array(3).fill('sealed'))
    expect(await countRecords(stage.database.server, 'crash')).toEqual(ONE_EACH)
    await using other = stage.openSealer()
    expect(await seal(other, batch)).toEqual(Array(3).fill('sealed'))
    release()
    // Whoever comes too late seals nothing twice, and says that it has to be asked for again.
    expect(await lost).toEqual(Array(3).fill('overloaded'))
    expect(await countRecords(stage.database.server, 'crash')).toEqual(ONE_EACH)
  })

  it('before its bytes are stored leaves the names free', async () => {
    const batch = makeBatch('lost')
    await using sealer = stage.openSealer({ store: failPuts('before') })
    await seal(sealer, batch)
    await stage.sweep()
    expect(await states(batch)).toEqual(Array(3).fill('failed'))
    expect(await seal(sealer, batch)).toEqual(Array(3).fill('upload_ended'))
    expect(await seal(sealer, makeBatch('lost'))).toEqual(Array(3).fill('store_unavailable'))
    await using good = stage.openSealer()
    expect(await seal(good, makeBatch('lost'))).toEqual(Array(3).fill('sealed'))
  })

  it('is waited for while its server lives, and taken over once it does not', async () => {
    const batch = makeBatch('takeover')
    const { store, reached, release } = hangAfterPut()
    await using hanging = stage.openSealer({ store })
    const lost = seal(hanging, batch)
    await reached
    await using other = stage.openSealer()
    expect(await seal(other, batch)).toEqual(Array(3).fill('overloaded'))
    stage.wait(LEASE_SECONDS + 1)
    expect(await seal(other, batch)).toEqual(Array(3).fill('sealed'))
    release()
    await lost
    expect(await countRecords(stage.database.server, 'takeover')).toEqual(ONE_EACH)
  })
})

describe('a store that changes the bytes of a batch', () => {
  it('is noticed for that artifact alone, which fails on record and frees its name', async () => {
    const batch = makeBatch('tampered')
    const [, changed] = batch
    if (changed === undefined) throw new Error('The batch is empty')
    const store: Store = {
      ...stage.store,
      async put(plan, bytes) {
        const blob = await stage.store.put(plan, bytes)
        if (plan.key === keyOf(changed))
          await stage.tamper(plan.key, (kept) =>
            Buffer.concat([Buffer.from('X'), kept.subarray(1)]),
          )
        return blob
      },
    }
    await using sealer = stage.openSealer({ store })
    expect(await seal(sealer, batch)).toEqual(['sealed', 'digest_mismatch', 'sealed'])
    expect(await states(batch)).toEqual(['sealed', 'failed', 'sealed'])
    // The same request gets the same problem; another one may have the name.
    expect(await seal(sealer, batch)).toEqual(['sealed', 'digest_mismatch', 'sealed'])
    await using good = stage.openSealer()
    const anew = makeSmall({ task: 'tampered', name: changed.name }, 'anew')
    expect(await seal(good, [anew])).toEqual(['sealed'])
  })
})
